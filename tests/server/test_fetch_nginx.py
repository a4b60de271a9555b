"""uwsgi_tornado.fetch() from a real nginx: TLS, HTTP/2, kept connections, compression, uploads, unix sockets, proxies."""
import asyncio
import base64
import json

import pytest

from overlap import ask_at_once

BIG = 20 << 20


@pytest.fixture
def start(server):
    """fetch() in a request of a server with this environment: start(**environ)(url, **arguments)."""
    def start(**environ):
        running = server('fetches.py', environ=environ)

        def fetch(url, **arguments):
            status, _, body = running.get('/ask', 'POST', json.dumps({'url': url, **arguments}))
            assert status == 200, running.log
            return json.loads(body)
        return fetch
    return start


@pytest.fixture
def fetch(start):
    return start()


@pytest.fixture
def tls(nginx, certificate):
    """(URL, what makes it trusted)"""
    return f'https://127.0.0.1:{nginx.tls_port}', {'verify': certificate[0]}


# --- TLS and HTTP/2 -------------------------------------------------------------------------------

@pytest.mark.smoke
@pytest.mark.parametrize('asked, spoken', [(None, '2'), ('2', '2'), ('1.1', '1.1'), ('1.0', '1.0')])
def test_tls_in_every_version_of_http(fetch, tls, asked, spoken):
    url, trusted = tls
    response = fetch(url + '/who', http_version=asked, **trusted)
    assert response['body'].split()[1] == f'HTTP/{spoken}' + ('.0' if spoken == '2' else '')
    assert response['status'] == 200 and response['http_version'] == ('1.1' if spoken == '1.0' else spoken)
    assert response['timings']['appconnect'] > 0


@pytest.mark.smoke
def test_a_certificate_that_nobody_vouches_for_is_refused(fetch, tls):
    url, trusted = tls
    for _ in range(2):
        refused = fetch(url + '/who')
        assert refused['curl_code'] == 60 and 'certificate' in refused['text']
        assert fetch(url + '/who', verify=False)['status'] == 200
        assert fetch(url + '/who', **trusted)['status'] == 200


def test_a_certificate_for_another_name_is_refused(fetch, nginx, tls):
    _, trusted = tls
    other = f'https://127.0.0.2:{nginx.tls_port}/who'
    assert fetch(other, **trusted)['curl_code'] == 60
    assert fetch(other, verify=False)['status'] == 200
    assert fetch(f'https://localhost:{nginx.tls_port}/who', allow_ipv6=False, **trusted)['status'] == 200


def test_a_missing_file_of_certificates_is_an_error(fetch, tls):
    assert fetch(tls[0] + '/who', verify='/nowhere/ca.pem')['curl_code'] == 77


def test_plain_http_where_tls_is_spoken_is_an_error_and_the_other_way_round(fetch, nginx):
    assert fetch(f'http://127.0.0.1:{nginx.tls_port}/who', raise_error=False)['status'] == 400
    assert fetch(f'https://127.0.0.1:{nginx.port}/who')['curl_code'] == 35


def test_http2_without_tls_goes_on_as_http1_where_it_is_not_known(fetch, nginx):
    response = fetch(f'http://127.0.0.1:{nginx.port}/who', http_version='2')
    assert (response['status'], response['http_version']) == (200, '1.1')


def test_one_http2_connection_carries_many(fetch, tls):
    url, trusted = tls
    connections = {fetch(url + '/who', **trusted)['body'].split()[0] for _ in range(5)}
    assert len(connections) == 1


def test_a_stream_over_tls_that_waits_holds_nobody_else(server, tls):
    url, trusted = tls
    running = server('fetches.py', environ={'UPSTREAM': url, 'CA': trusted['verify']})
    assert running.get('/held_stream?big,who', timeout_s=60)[2].decode().startswith(f'{BIG} HTTP/')


def test_big_bodies_over_http2_are_whole(fetch, tls):
    url, trusted = tls
    for stream in False, True:
        assert fetch(url + '/big', stream=stream, max_body_size=0, **trusted)['size'] == BIG


# --- HTTP -----------------------------------------------------------------------------------------

def test_connections_are_kept(fetch, nginx):
    url = f'http://127.0.0.1:{nginx.port}/who'
    kept = {fetch(url)['body'].split()[0] for _ in range(10)}
    assert len(kept) == 1
    assert fetch(url, headers={'Connection': 'close'})['body'].split()[0] in kept
    assert fetch(url)['body'].split()[0] not in kept


def test_bodies_come_decompressed(fetch, nginx):
    url = f'http://127.0.0.1:{nginx.port}/text.txt'
    response = fetch(url)
    assert response['size'] == 150_000 and ['Content-Encoding', 'gzip'] in response['headers']
    assert response['body'].startswith('a line of text\n')
    assert fetch(url, stream=True)['size'] == 150_000
    plain = fetch(url, decompress=False)
    assert plain['size'] == 150_000 and 'Content-Encoding' not in dict(plain['headers'])
    compressed = fetch(url, decompress=False, headers={'Accept-Encoding': 'gzip'})
    assert compressed['size'] < 10_000 and compressed['body'].startswith('\x1f\x8b')


def test_redirects_are_followed(fetch, nginx, tls):
    base = f'http://127.0.0.1:{nginx.port}'
    response = fetch(base + '/moved')
    assert response['url'] == base + '/who' and response['body'].split()[2] == 'GET' and response['timings']['redirect'] > 0
    assert fetch(base + '/moved', follow_redirects=False)['status'] == 302
    assert fetch(base + '/round')['curl_code'] == 47
    assert fetch(base + '/moved-to-tls', **tls[1])['url'] == tls[0] + '/who'
    assert fetch(base + '/moved-to-tls')['curl_code'] == 60
    assert fetch(base + '/refused')['code'] == 403


@pytest.mark.parametrize('over', ['http', 'tls'])
def test_uploads_arrive(fetch, nginx, tls, over, tmp_path):
    url, trusted = tls if over == 'tls' else (f'http://127.0.0.1:{nginx.port}', {})
    (tmp_path / 'file').write_bytes(bytes(range(256)) * 8192)
    for kind, content in [({'body': 'text'}, b'text'), ({'chunk': 'x' * 10000, 'repeat': 100}, b'x' * 1_000_000),
                          ({'file': str(tmp_path / 'file')}, bytes(range(256)) * 8192), ({'body': ''}, b'')]:
        stored = nginx.folder / 'pages' / 'stored'
        assert fetch(url + '/stored', method='PUT', **kind, **trusted)['status'] in (201, 204)
        assert stored.read_bytes() == content
        assert fetch(url + '/stored', method='DELETE', **trusted)['status'] == 204


@pytest.mark.parametrize('method', ['HEAD', 'GET', 'OPTIONS', 'PROPFIND'])
def test_methods_go_out_as_asked(fetch, nginx, method):
    response = fetch(f'http://127.0.0.1:{nginx.port}/who', method=method, raise_error=False)
    assert response['body'].split()[2:3] == ([] if method == 'HEAD' else [method])


def test_a_unix_socket_is_a_way_to_the_server(fetch, nginx):
    assert fetch('http://example.org/who', unix_socket=nginx.socket)['body'].split()[3] == 'example.org'
    assert fetch('http://example.org/who', unix_socket=nginx.socket + '-not')['curl_code'] == 7


def test_many_requests_at_once_over_tls(server, tls):
    url, trusted = tls
    running = server('fetches.py', environ={'UPSTREAM': url, 'CA': trusted['verify']})
    answers, _ = ask_at_once(running, '/over_tls', 50)
    assert all(answer.split()[1] == 'HTTP/2.0' for answer in answers)


# --- Proxies --------------------------------------------------------------------------------------

class Proxy:
    """A forward proxy that wants a password: CONNECT, and GET of whole URLs."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.asked = []

    async def start(self):
        server = await asyncio.start_server(self.serve, '127.0.0.1', 0)
        self.port = server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        head = await reader.readuntil(b'\r\n\r\n')
        self.asked.append(head.split(b'\r\n')[0].decode())
        if b'Proxy-Authorization: Basic ' + base64.b64encode(b'me:secret') not in head:
            writer.write(b'HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
        elif head.startswith(b'CONNECT'):
            target_reader, target_writer = await asyncio.open_connection('127.0.0.1', self.target_port)
            writer.write(b'HTTP/1.1 200 Connected\r\n\r\n')
            await asyncio.gather(self.pass_on(reader, target_writer), self.pass_on(target_reader, writer))
        else:
            writer.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nthrough the proxy')
        writer.close()

    async def pass_on(self, reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


@pytest.fixture
def proxy(loop_thread, nginx):
    peer = Proxy(nginx.tls_port)
    loop_thread.run(peer.start())
    return peer


def test_a_proxy_carries_http_and_tls(fetch, tls, proxy):
    options = {'proxy': f'http://127.0.0.1:{proxy.port}', 'proxy_username': 'me', 'proxy_password': 'secret'}
    assert fetch('http://nowhere.invalid/x', **options)['body'] == 'through the proxy'
    response = fetch(tls[0] + '/who', **options, **tls[1])
    assert response['status'] == 200 and response['headers'][0][0].lower() != 'proxy-authenticate'
    assert proxy.asked == ['GET http://nowhere.invalid/x HTTP/1.1', f'CONNECT {tls[0][8:]} HTTP/1.1']
    streamed = fetch(tls[0] + '/big', stream=True, **options, **tls[1])
    assert streamed['size'] == BIG and streamed['status'] == 200


def test_a_proxy_refuses_without_its_password(fetch, tls, proxy):
    url = f'http://127.0.0.1:{proxy.port}'
    assert fetch('http://nowhere.invalid/x', proxy=url)['code'] == 407
    # "failure in receiving network data"; libcurl 8.22: "could not connect".
    assert fetch(tls[0] + '/who', proxy=url, **tls[1])['curl_code'] in (56, 7)
    assert fetch(f'http://nowhere.invalid/x', proxy=f'http://me:secret@127.0.0.1:{proxy.port}')['status'] == 200


def test_the_proxy_of_the_environment_is_used_unless_turned_off(start, nginx, proxy):
    url = f'http://me:secret@127.0.0.1:{proxy.port}'
    direct = f'http://127.0.0.1:{nginx.port}/who'
    fetch = start(http_proxy=url, no_proxy='127.0.0.2')
    assert fetch(direct)['body'] == 'through the proxy'
    assert fetch(direct, proxy='')['body'] != 'through the proxy'
    assert start(http_proxy=url, no_proxy='127.0.0.1')(direct)['body'] != 'through the proxy'
    assert start(HTTP_PROXY=url)(direct)['body'] != 'through the proxy'  # What a client's header Proxy: makes of CGI.
