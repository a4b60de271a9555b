"""Tornado's AsyncHTTPClient on the engine, beyond what Tornado's own tests ask: max_clients, callbacks,
producers, and each field of HTTPRequest."""
import asyncio
import base64
import hashlib
import re
import ssl

import pytest
import uwsgi_tornado
from http_upstream import ON_THE_WAY, answer, answering, no_transfer_is_left, pages, read_chunks, run, silent, upstream
from tornado.httpclient import AsyncHTTPClient, HTTPClient, HTTPError, HTTPRequest
from tornado.ioloop import IOLoop
from tornado.simple_httpclient import HTTPTimeoutError
from uwsgi_tornado import EventLoopPolicy

REFERER, FRESH_CONNECT = 10016, 74  # libcurl's numbers; pycurl has them by name.


@pytest.fixture(autouse=True)
def no_loop_is_kept():
    yield
    IOLoop._ioloop_for_asyncio.clear()  # Tornado would keep a closed one until the next.


@pytest.fixture
def make_client():
    made = []

    def make(**options):
        made.append(uwsgi_tornado.AsyncHTTPClient(force_instance=True, **options))
        return made[-1]
    yield make
    for client in made:
        if not client._closed:
            client.close()


@pytest.fixture
def configured():
    AsyncHTTPClient.configure('uwsgi_tornado.AsyncHTTPClient', max_clients=50)
    yield
    AsyncHTTPClient.configure(None)


def gated(go):
    """Answers once `go` is set."""
    async def handler(served, reader, writer):
        while True:
            request = await served.take(reader)
            served.changed.set()
            await go.wait()
            writer.write(answer(request.target.encode()))
    return upstream(handler)


# --- How many at once -----------------------------------------------------------------------------

def test_no_more_than_max_clients_at_once(run, make_client):
    go = asyncio.Event()

    async def test():
        async with gated(go) as server:
            client = make_client(max_clients=3)
            futures = [client.fetch(f'{server.url}/{n}') for n in range(10)]
            await server.until(lambda: len(server.requests) == 3)
            await asyncio.sleep(0.05)
            assert len(server.requests) == 3
            go.set()
            responses = await asyncio.gather(*futures)
            assert [r.body for r in responses] == [b'/%d' % n for n in range(10)]
            assert [request.target for request in server.requests[:3]] == ['/0', '/1', '/2']
            assert server.accepted == 3
            assert responses[-1].time_info['queue'] >= 0.05 > responses[0].time_info['queue']
    run(test())


def test_who_waits_too_long_for_a_client_times_out(run, make_client):
    go = asyncio.Event()

    async def test():
        async with gated(go) as server:
            client = make_client(max_clients=1)
            first = client.fetch(server.url + '/first')
            with pytest.raises(HTTPTimeoutError, match='Timeout in request queue'):
                await client.fetch(server.url + '/second', connect_timeout=0.1)
            go.set()
            assert (await first).body == b'/first'
            assert (await client.fetch(server.url + '/third')).body == b'/third'
            assert [r.target for r in server.requests] == ['/first', '/third']
    run(test())


def test_what_cannot_be_asked_gives_its_place_back(run, make_client):
    def raising(write):
        raise LookupError('nothing to send')

    async def test():
        async with answering(answer(b'fine')) as server:
            client = make_client(max_clients=1)
            for _ in range(3):
                with pytest.raises(LookupError):
                    await client.fetch(server.url, method='POST', body_producer=raising)
                with pytest.raises(ValueError):
                    await client.fetch(server.url, headers={'X': 'y\r\nZ: z'})
                with pytest.raises(KeyError):
                    await client.fetch(server.url, method='PROPFIND')
                with pytest.raises(ValueError):
                    await client.fetch(server.url, ssl_options=ssl.create_default_context())
            assert (await client.fetch(server.url)).body == b'fine'
    run(test())


def test_closing_ends_what_is_in_flight_and_what_waits(run, make_client):
    async def test():
        async with silent() as server:
            client = make_client(max_clients=2)
            futures = [client.fetch(server.url) for _ in range(5)]
            await server.until(lambda: server.open == 2)
            client.close()
            errors = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 5)
            assert [(type(e).__mro__[1], 'closed' in str(e)) for e in errors] == [(HTTPError, True)] * 5
            await server.until(lambda: server.open == 0)
            assert server.accepted == 2
    run(test())


# --- Callbacks ------------------------------------------------------------------------------------

def test_header_and_streaming_callbacks_are_called_in_order(run, make_client):
    told = []

    async def test():
        async with answering(answer(b'body', '200 OK', 'X: y')) as server:
            response = await make_client().fetch(
                server.url, header_callback=told.append, streaming_callback=told.append)
            assert told == ['HTTP/1.1 200 OK\r\n', 'X: y\r\n', 'Content-Length: 4\r\n', '\r\n', b'body']
            assert response.code == 200 and response.body == b''
    run(test())


def test_an_error_in_a_callback_is_logged_and_the_fetch_goes_on(run, make_client, caplog):
    def fails(_):
        raise LookupError('in a callback')

    async def test():
        async with answering(answer(b'body')) as server:
            response = await make_client().fetch(server.url, header_callback=fails, streaming_callback=fails)
            assert response.code == 200
    run(test())
    assert 'in a callback' in caplog.text
    caplog.clear()
    for handler in caplog.handler, caplog._item.config.pluginmanager.get_plugin('logging-plugin').report_handler:
        handler.reset()  # The records keep the frames, and they the loop.


@pytest.mark.parametrize('length', [None, '10'])
@pytest.mark.parametrize('kind', ['coroutine', 'future', 'plain'])
def test_a_body_producer_writes_the_body(run, make_client, length, kind):
    async def coroutine(write):
        await write(b'some ')
        await asyncio.sleep(0)
        await write(b'bytes')

    def plain(write):
        write(b'some ')
        write(b'bytes')

    producer = {'coroutine': coroutine, 'plain': plain, 'future': lambda write: asyncio.ensure_future(coroutine(write))}[kind]

    async def test():
        async with answering(answer(b'fine')) as server:
            headers = {'Content-Length': length} if length else {}
            assert (await make_client().fetch(server.url, method='PUT', headers=headers, body_producer=producer)).body == b'fine'
            request = server.requests[0]
            assert request.body == b'some bytes' and request.headers['Content-Length'] == length
            assert request.headers['Transfer-Encoding'] == (None if length else 'chunked')
    run(test())


def test_an_error_in_a_body_producer_is_the_fetchs(run, make_client):
    async def producer(write):
        await write(b'some')
        raise LookupError('no more')

    async def handler(served, reader, writer):
        with pytest.raises(asyncio.IncompleteReadError):
            await served.take(reader)

    async def test():
        async with upstream(handler) as server:
            with pytest.raises(LookupError, match='no more'):
                await make_client().fetch(server.url, method='POST', body_producer=producer)
            await server.until(lambda: server.open == 0)
    run(test())


def test_a_body_producer_is_held_back(run, make_client):
    go, written = asyncio.Event(), [0]

    async def producer(write):
        for _ in range(1000):
            await write(b'x' * 65536)
            written[0] += 65536

    async def handler(served, reader, writer):
        await reader.readuntil(b'\r\n\r\n')
        await go.wait()
        writer.write(answer(str(sum([len(chunk) async for chunk in read_chunks(reader)])).encode()))

    async def test():
        async with upstream(handler) as server:
            fetched = make_client().fetch(server.url, method='POST', body_producer=producer)
            before = -1
            while before != written[0] or not before:  # Until it has come to rest.
                before = written[0]
                await asyncio.sleep(0.1)
            assert written[0] < ON_THE_WAY
            go.set()
            assert (await fetched).body == b'65536000'
    run(test())


def test_the_curl_callback_sets_options_by_number(run, make_client):
    def prepare(curl):
        curl.setopt(REFERER, 'http://example.org/')
        curl.setopt(FRESH_CONNECT, True)
        curl.setopt(10018, 'not this')
        curl.unsetopt(10018)

    async def test():
        async with answering(answer(b'fine'), answer(b'fine')) as server:
            for n in 1, 2:
                await make_client().fetch(server.url, prepare_curl_callback=prepare)
                assert server.requests[-1].headers['Referer'] == 'http://example.org/'
                assert server.requests[-1].headers['User-Agent'] == 'Tornado (uwsgi_tornado)'
                assert server.accepted == n
            with pytest.raises(ValueError, match='no option 999'):
                await make_client().fetch(server.url, prepare_curl_callback=lambda curl: curl.setopt(999, 1))
            with pytest.raises(ValueError, match='cannot be set from here'):
                await make_client().fetch(server.url, prepare_curl_callback=lambda curl: curl.setopt(20011, 1))
    run(test())


# --- Fields ---------------------------------------------------------------------------------------

def tls_handler(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / 'cert.pem', certificate / 'key.pem')

    async def handler(served, reader, writer):
        while True:
            await served.take(reader)
            writer.write(answer(b'over TLS'))
    return upstream(handler, ssl=context, host='localhost')


@pytest.mark.parametrize('how', ['ssl_options', 'field'])
def test_certificates_are_verified_as_asked(run, make_client, certificate, how):
    ca_certs = str(certificate / 'cert.pem')
    trusted, unchecked = {'ca_certs': ca_certs}, {'validate_cert': False}
    if how == 'ssl_options':
        trusted, unchecked = {'ssl_options': {'ca_certs': ca_certs}}, {'ssl_options': {'cert_reqs': ssl.CERT_NONE}}

    async def test():
        async with tls_handler(certificate) as server:
            client, url = make_client(), f'https://localhost:{server.port}/'
            with pytest.raises(HTTPError) as raised:
                await client.fetch(url)
            assert raised.value.code == 599 and raised.value.errno == 60
            assert (await client.fetch(url, **trusted)).body == b'over TLS'
            assert (await client.fetch(url, **unchecked)).body == b'over TLS'
            with pytest.raises(HTTPError):  # What somebody did not check is not trusted by others.
                await client.fetch(url)
    run(test())


def test_expect_100_continue_waits_for_the_server(run, make_client):
    async def handler(served, reader, writer):
        head = await reader.readuntil(b'\r\n\r\n')
        assert b'Expect: 100-continue' in head
        body = asyncio.ensure_future(reader.readexactly(5))
        done, _ = await asyncio.wait([body], timeout=0.1)
        assert not done
        writer.write(b'HTTP/1.1 100 Continue\r\n\r\n')
        assert await body == b'hello'
        writer.write(answer(b'fine'))

    async def test():
        async with upstream(handler) as server:
            response = await make_client().fetch(server.url, method='POST', body='hello', expect_100_continue=True)
            assert response.code == 200 and response.body == b'fine'
    run(test())


def test_the_interface_is_the_one_asked_for(run, make_client):
    async def handler(served, reader, writer):
        await served.take(reader)
        writer.write(answer(writer.get_extra_info('peername')[0].encode()))

    async def test():
        async with upstream(handler) as server:
            assert (await make_client().fetch(server.url, network_interface='127.0.0.7')).body == b'127.0.0.7'
            assert (await make_client().fetch(server.url)).body == b'127.0.0.1'
            with pytest.raises(HTTPError):
                await make_client().fetch(server.url, network_interface='no-such-interface')
    run(test())


def test_a_proxy_is_asked_with_its_password(run, make_client):
    async def test():
        async with answering(answer(b'from the proxy')) as proxy:
            response = await make_client().fetch('http://nowhere.invalid/page', proxy_host='127.0.0.1', proxy_port=proxy.port,
                                                 proxy_username='me', proxy_password='secret')
            assert response.body == b'from the proxy'
            assert proxy.requests[0].target == 'http://nowhere.invalid/page'
            assert proxy.requests[0].headers['Proxy-Authorization'] == 'Basic ' + base64.b64encode(b'me:secret').decode()
    run(test())


def test_digest_authentication(run, make_client):
    def md5(text):
        return hashlib.md5(text.encode()).hexdigest()

    async def handler(served, reader, writer):
        while True:
            request = await served.take(reader)
            given = dict(re.findall(r'(\w+)="?([^",]+)', request.headers['Authorization'] or ''))
            if not given:
                writer.write(answer(b'who?', '401 Who', 'WWW-Authenticate: Digest realm="here", nonce="abc", qop="auth"'))
                continue
            right = md5(':'.join([md5('me:here:secret'), 'abc', given['nc'], given['cnonce'], 'auth', md5('POST:/page')]))
            writer.write(answer(request.body, '200 OK' if given['response'] == right else '403 No'))

    async def test():
        async with upstream(handler) as server:
            options = dict(method='POST', body='hello', auth_mode='digest', auth_username='me')
            response = await make_client().fetch(server.url + '/page', auth_password='secret', **options)
            assert response.body == b'hello' and response.headers.get_list('WWW-Authenticate') == []
            with pytest.raises(HTTPError, match='403'):
                await make_client().fetch(server.url + '/page', auth_password='wrong', **options)
            with pytest.raises(ValueError, match='"basic" or "digest"'):
                await make_client().fetch(server.url, auth_username='me', auth_mode='other')
    run(test())


def test_times_and_errors_are_told(run, make_client):
    async def test():
        async with answering(answer(b'gone', '404 Gone', 'X: y', 'x: z')) as server:
            response = await make_client().fetch(HTTPRequest(server.url), raise_error=False)
            assert set(response.time_info) == {'queue', 'namelookup', 'connect', 'appconnect', 'pretransfer',
                                               'starttransfer', 'total', 'redirect'}
            assert 0 < response.time_info['connect'] <= response.time_info['total'] < 30
            assert 0 < response.request_time < 30 and response.start_time > 1e9
            assert (response.code, response.reason, response.body) == (404, 'Gone', b'gone')
            assert response.headers.get_list('X') == ['y', 'z'] and response.effective_url == server.url + '/'
            assert isinstance(response.error, HTTPError) and response.error.code == 404
            with pytest.raises(HTTPError) as raised:
                await make_client().fetch(server.url)
            assert raised.value.response.body == b'gone'
    run(test())


# --- Configuration --------------------------------------------------------------------------------

def test_tornado_is_configured_by_name(run, configured):
    async def test():
        async with answering(answer(b'fine')) as server:
            client = AsyncHTTPClient()
            assert type(client) is uwsgi_tornado.AsyncHTTPClient and client._max_clients == 50
            assert AsyncHTTPClient() is client
            assert (await client.fetch(server.url)).body == b'fine'
            client.close()
            with pytest.raises(RuntimeError, match='closed'):
                client.fetch(server.url)
    run(test())


def test_the_synchronous_client_runs_on_a_loop_of_ours(configured, pages):
    asyncio.set_event_loop_policy(EventLoopPolicy())
    try:
        client = HTTPClient()
        assert client.fetch(pages).body == b'page'
        with pytest.raises(HTTPError, match='HTTP 404'):
            client.fetch(pages + '/404')
        client.close()
    finally:
        asyncio.set_event_loop_policy(None)


def test_on_asyncios_own_loop_tornados_client_fetches(configured, pages):
    async def test():
        client = AsyncHTTPClient(force_instance=True)
        assert type(client) is uwsgi_tornado.AsyncHTTPClient
        response = await client.fetch(pages)
        with pytest.raises(HTTPError, match='HTTP 404'):
            await client.fetch(pages + '/404')
        client.close()
        return response.body
    assert asyncio.run(test()) == b'page'
