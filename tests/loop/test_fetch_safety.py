"""What a fetch must not give away, and what it must not let onto the wire."""
import pytest
from http_upstream import answer, answering, failure, no_transfer_is_left, run
from uwsgi_tornado import fetch_async

POSTFIELDSIZE, POSTFIELDSIZE_LARGE = 60, 30120
CHUNKED = ('Transfer-Encoding', 'chunked')


@pytest.mark.parametrize('place', ['127.0.0.1:1', '[bad', 'host.invalid:1', '127.0.0.1:99999'])
@pytest.mark.parametrize('what', ['url', 'proxy'])
def test_passwords_are_not_in_the_texts_of_errors(run, what, place):
    async def test():
        secret = f'http://user:secret@{place}'
        call = fetch_async(secret, proxy='') if what == 'url' else fetch_async('http://127.0.0.1:1', proxy=secret)
        error = await failure(call)
        assert 'secret' not in str(error) and len(str(error)) > len('HTTP 599: ')
    run(test())


@pytest.mark.parametrize('headers, body', [
    ([CHUNKED], None),
    ([('Transfer-Encoding', 'identity')], b'body'),
    ([('transfer-encoding', '\x0bchunked')], b'body'),
    ([('Transfer-Encoding', 'gzip, chunked')], b'body'),
    ([('Transfer-Encoding', '')], b'body'),
    ([('Transfer-Encoding', None)], iter([b'body'])),
    ([CHUNKED, CHUNKED], b'body'),
])
def test_no_request_ends_elsewhere_than_the_server_thinks(run, headers, body):
    async def test():
        with pytest.raises(ValueError, match='Transfer-Encoding'):
            await fetch_async('http://127.0.0.1:1', headers=headers, body=body)
    run(test())


@pytest.mark.parametrize('body', [b'body', iter([b'bo', b'dy'])], ids=['whole', 'chunks'])
def test_a_body_goes_in_chunks_where_that_is_asked_for(run, body):
    async def test():
        async with answering(answer(b'thanks')) as server:
            await fetch_async(server.url, headers=[CHUNKED, ('Content-Length', '4')], body=body)
            request, = server.requests
            assert request.body == b'body' and 'Content-Length' not in request.headers
    run(test())


@pytest.mark.parametrize('option', [POSTFIELDSIZE, POSTFIELDSIZE_LARGE])
def test_options_of_libcurl_cannot_send_what_lies_behind_the_body(run, option):
    async def test():
        with pytest.raises(ValueError, match='cannot be set'):
            await fetch_async('http://127.0.0.1:1', body=b'body', curl_options={option: 1000})
    run(test())


def test_credentials_for_a_proxy_are_not_sent_to_a_server(run):
    async def test():
        with pytest.raises(ValueError, match='use proxy_username and proxy_password'):
            fetch_async('http://127.0.0.1:1', headers={'proxy-authorization': 'Basic eDp5'})
    run(test())
