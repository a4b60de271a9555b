"""Tornado's own suites, run in a worker against uWSGI's sockets: the server's side is ours, the tests are theirs."""
import pathlib
import re

import pytest

from conftest import APPS, free_port

tornado = pytest.importorskip('tornado')
pytest.importorskip('tornado.test.web_test')

NOT_UWSGIS = 'uWSGI reads requests: what it does not take for one is closed, without the line that Tornado logs'
CLOSES = 'uWSGI closes the connection after it (docs/tornado.md)'
OWN_SERVER = 'starts a server of its own, or looks at how one is made'
# Why not, for each test or class of tests that is not run.
OMITTED = {
    'httpserver_test': {
        'HTTPServerRawTest': NOT_UWSGIS,
        'HTTPConnectionTest.test_newlines': NOT_UWSGIS + ': lines end with CRLF',
        'SSLv23Test.test_error_logging': NOT_UWSGIS,
        'SSLv3Test.test_error_logging': NOT_UWSGIS,
        'TLSv1Test.test_error_logging': NOT_UWSGIS,
        'SSLContextTest.test_error_logging': NOT_UWSGIS,
        'SSLTest.test_error_logging': NOT_UWSGIS,
        'SSLv23Test.test_non_ssl_request': NOT_UWSGIS,
        'SSLv3Test.test_non_ssl_request': NOT_UWSGIS,
        'TLSv1Test.test_non_ssl_request': NOT_UWSGIS,
        'SSLContextTest.test_non_ssl_request': NOT_UWSGIS,
        'SSLTest.test_non_ssl_request': NOT_UWSGIS,
        'MaxHeaderSizeTest.test_large_headers': 'the limit is uWSGI\'s buffer-size',
        'IdleTimeoutTest': 'the time is uWSGI\'s socket-timeout',
        'LegacyInterfaceTest': 'write() with a head in it is refused with a sentence',
        'KeepAliveTest.test_pipelined_requests': CLOSES,
        'KeepAliveTest.test_http10_keepalive': CLOSES,
        'KeepAliveTest.test_http10_keepalive_extra_crlf': CLOSES,
        'KeepAliveTest.test_keepalive_chunked': CLOSES,
        'InvalidOutputContentLengthTest': 'an error before the head is answered with 500, where Tornado closes the connection',
        'UnixSocketTest': OWN_SERVER,
        'BadSSLOptionsTest': OWN_SERVER,
    },
    'simple_httpclient_test': {
        'HTTP100ContinueTestCase': 'writes the bytes of its responses to the stream itself',
        'HTTP204NoContentTestCase': 'writes the bytes of its responses to the stream itself',
        'SimpleHTTPClientTestCase.test_singleton': 'of the client alone, with a loop for each',
        'SimpleHTTPSClientTestCase.test_singleton': 'of the client alone, with a loop for each',
        'SimpleHTTPClientTestCase.test_connection_limit': 'of the client alone',
        'SimpleHTTPSClientTestCase.test_connection_limit': 'of the client alone',
        'SimpleHTTPClientTestCase.test_ipv6': OWN_SERVER,
        'SimpleHTTPSClientTestCase.test_ipv6': OWN_SERVER,
        'SimpleHTTPSClientTestCase.test_request_timeout': 'has 0.1 s for a TLS handshake and a request',
    },
}


@pytest.mark.parametrize('suite', ['web_test', 'websocket_test', 'httpserver_test', 'simple_httpclient_test', 'routing_test', 'auth_test'])
def test_suite(server, suite):
    port, tls = free_port(), free_port()
    keys = pathlib.Path(tornado.__file__).parent / 'test'
    running = server(
        None, '--pythonpath', str(APPS), '--module', 'tornado_suites:application', '--http11-socket', f'127.0.0.1:{port}', '--https-socket', f'127.0.0.1:{tls},{keys}/test.crt,{keys}/test.key',
        environ={'PORT': str(port), 'TLS_PORT': str(tls), 'SUITE': f'tornado.test.{suite}', 'OMITTED': ' '.join(OMITTED.get(suite, ()))})
    running.wait_for_log('SUITE HAS RUN [0-9]+', timeout_s=300)
    assert re.findall('^FAILED (tornado.*)', running.log, re.M) == []
    assert int(re.search('SUITE HAS RUN ([0-9]+)', running.log).group(1)) > 5
