"""OpenSSL keeps its errors per OS thread; each request sees its own although all run on one."""
import socket
import threading

import pytest

EXPECTED = {'good': b'TLSv1.3', 'untrusted': b'SSLCertVerificationError CERTIFICATE_VERIFY_FAILED',
            'no_tls': b'SSLError WRONG_VERSION_NUMBER'}


@pytest.fixture
def no_tls():
    """The port of a server that answers a greeting with what is no TLS."""
    def serve(listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(10000)
                connection.sendall(b'What did you say?\n')

    with socket.create_server(('127.0.0.1', 0), backlog=500) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize('quantum', ['0.1', '10'])
def test_each_request_sees_the_error_of_its_own_handshake(server, tls_upstream, certificate, no_tls, quantum):
    environ = {'CA': certificate[0], 'TLS_PORT': str(tls_upstream.port), 'PLAIN_PORT': str(no_tls)}
    running = server('tls_failures.py', '--tornado-quantum', quantum, cores=100, environ=environ)
    kinds = list(EXPECTED) * 30
    results, _ = running.get_all([f'/{kind}?{n}' for n, kind in enumerate(kinds)])
    assert [result[2] for result in results] == [EXPECTED[kind] for kind in kinds], running.log[-3000:]
