"""What fetches never do unless asked: other lines in the request, other protocols, passwords to other hosts,
cookies, .netrc."""
import asyncio
import base64

import pytest
import uwsgi_tornado
from http_upstream import answer, answering, failure, no_transfer_is_left, run, upstream
from uwsgi_tornado import fetch_async

LINE_ENDS = ['\r\nX-Evil: yes', '\nX-Evil: yes', '\r', '\0']
COOKIE_FILE = 10031  # CURLOPT_COOKIEFILE


def basic(text):
    return 'Basic ' + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize('end', LINE_ENDS, ids=repr)
@pytest.mark.parametrize('arguments', [
    lambda evil: {'headers': {'X' + evil: 'y'}},
    lambda evil: {'headers': {'X': 'y' + evil}},
    lambda evil: {'headers': [('X', 'y' + evil)]},
    lambda evil: {'headers': {b'X': b'y' + evil.encode()}},
    lambda evil: {'headers': {'X': evil}},
    lambda evil: {'method': 'GET' + evil},
    lambda evil: {'user_agent': 'browser' + evil},
    lambda evil: {'username': 'me' + evil, 'password': 'secret'},
    lambda evil: {'username': 'me', 'password': 'secret' + evil},
    lambda evil: {'proxy': 'http://127.0.0.1' + evil},
    lambda evil: {'accept_encoding': 'gzip' + evil},
    lambda evil: {'curl_options': {10016: 'http://referer' + evil}},
    lambda evil: {'unix_socket': '/tmp/x' + evil},
])
def test_the_end_of_a_line_is_refused(run, arguments, end):
    async def test():
        with pytest.raises(ValueError):
            fetch_async('http://127.0.0.1/', **arguments(end))
    run(test())


@pytest.mark.parametrize('end', LINE_ENDS, ids=repr)
@pytest.mark.parametrize('url', ['http://127.0.0.1/{}', 'http://127.0.0.1/?{}', 'http://127.0.0.1{}/', 'http://me{}@127.0.0.1/'])
def test_the_end_of_a_line_in_a_url_is_refused(run, url, end):
    async def test():
        with pytest.raises(ValueError):
            fetch_async(url.format(end))
    run(test())


def test_encoded_ends_of_lines_stay_encoded_or_are_refused(run):
    async def test():
        async with answering(answer(b'')) as server:
            await fetch_async(server.url + '/%0d%0aX-Evil:%20yes?%0d%0a')
            # libcurl 8.22 writes the digits of a path in capitals.
            target = server.requests[0].target.replace('%0D%0A', '%0d%0a')
            assert target == '/%0d%0aX-Evil:%20yes?%0d%0a' and 'X-Evil' not in server.requests[0].headers
        await failure(fetch_async('http://me:%0d%0aX-Evil@127.0.0.1:1/'))
    run(test())


def redirecting(location):
    """Answers /to with a redirect there, all else with a page."""
    async def handler(served, reader, writer):
        while True:
            request = await served.take(reader)
            writer.write(answer(b'', '302 Found', f'Location: {location}') if request.target == '/to' else answer(b'page'))
    return upstream(handler)


def test_a_redirect_cannot_add_a_line(run):
    async def test():
        async with redirecting('/a%0d%0aX-Evil:yes') as server:
            assert (await fetch_async(server.url + '/to')).body == b'page'
            assert server.requests[1].line.replace('%0D%0A', '%0d%0a') == 'GET /a%0d%0aX-Evil:yes HTTP/1.1'
        async with redirecting('/a b\tc') as server:
            await asyncio.gather(fetch_async(server.url + '/to'), return_exceptions=True)
            assert all(len(request.line.split(' ')) == 3 for request in server.requests)
    run(test())


# --- Credentials ----------------------------------------------------------------------------------

def test_credentials_of_the_url_are_sent_as_basic_authentication(run):
    async def test():
        async with answering(answer(b'')) as server:
            await fetch_async(f'http://me:s%40cr%C3%A9t@127.0.0.1:{server.port}/')
            assert server.requests[0].headers['Authorization'] == basic('me:s@crét')
            assert server.requests[0].target == '/'
    run(test())


def test_username_and_password_may_have_any_character(run):
    async def test():
        async with answering(answer(b'')) as server:
            await fetch_async(server.url, username='mé', password='a:b@c%20')
            assert server.requests[0].headers['Authorization'] == basic('mé:a:b@c%20')
    run(test())


@pytest.mark.parametrize('arguments', [{'username': 'me', 'password': 'secret'}, {'headers': {'Authorization': 'secret'}},
                                       {'headers': {'Cookie': 'secret'}}, {'url': 'http://me:secret@'}], ids=str)
@pytest.mark.parametrize('to', ['http://localhost', 'http://127.0.0.1'])
def test_credentials_do_not_follow_a_redirect_to_another_host_or_port(run, arguments, to):
    async def test():
        async with answering(answer(b'page')) as other:
            async with redirecting(f'{to}:{other.port}/') as server:
                given = dict(arguments)
                begin = given.pop('url', 'http://')
                await fetch_async(f'{begin}127.0.0.1:{server.port}/to', **given)
                sent = server.requests[0].headers
                assert sent['Authorization'] or sent['Cookie'] == 'secret'
                assert other.requests[0].headers['Authorization'] is None
                assert other.requests[0].headers['Cookie'] is None
    run(test())


def test_credentials_follow_a_redirect_on_the_same_host(run):
    async def test():
        async with redirecting('/there') as server:
            await fetch_async(server.url + '/to', username='me', password='secret')
            assert [r.headers['Authorization'] for r in server.requests] == [basic('me:secret')] * 2
    run(test())


def test_the_effective_url_says_no_password(run):
    async def test():
        async with answering(answer(b'page')) as server:
            response = await fetch_async(f'http://me:secret@127.0.0.1:{server.port}/')
            assert 'secret' not in response.effective_url and 'secret' not in repr(response)
    run(test())


def test_netrc_is_not_read(run, monkeypatch, tmp_path):
    (tmp_path / '.netrc').write_text('machine 127.0.0.1 login me password secret\ndefault login me password secret\n')
    (tmp_path / '.netrc').chmod(0o600)
    monkeypatch.setenv('HOME', str(tmp_path))

    async def test():
        async with answering(answer(b'')) as server:
            await fetch_async(server.url)
            assert server.requests[0].headers['Authorization'] is None
    run(test())


def test_cookies_are_not_kept(run):
    async def test():
        async with answering(answer(b'', '200 OK', 'Set-Cookie: a=b; Path=/'), answer(b'')) as server:
            assert (await fetch_async(server.url)).headers['Set-Cookie'] == 'a=b; Path=/'
            await fetch_async(server.url)
            assert server.requests[1].headers['Cookie'] is None
    run(test())


def test_cookies_that_one_fetch_keeps_are_not_for_the_next(run):
    async def handler(served, reader, writer):
        while True:
            request = await served.take(reader)
            redirect = 'X: y' if request.target == '/end' else 'Location: /end'
            writer.write(answer(b'', '302 Found', redirect, 'Set-Cookie: a=b; Path=/'))

    async def test():
        async with upstream(handler) as server:
            await fetch_async(server.url, curl_options={COOKIE_FILE: ''})
            assert [r.headers['Cookie'] for r in server.requests] == [None, 'a=b']  # Within it they are.
            for _ in range(3):
                await fetch_async(server.url + '/end')
            assert [r.headers['Cookie'] for r in server.requests[2:]] == [None] * 3
    run(test())


# --- Protocols ------------------------------------------------------------------------------------

@pytest.mark.parametrize('url', ['file:///etc/hostname', 'ftp://127.0.0.1/', 'gopher://127.0.0.1/', 'dict://127.0.0.1/d:x',
                                 'smtp://127.0.0.1/', 'FILE:/etc/hostname', 'scp://127.0.0.1/', 'telnet://127.0.0.1'])
def test_only_http_is_spoken(run, url):
    async def test():
        assert (await failure(fetch_async(url))).curl_code == 1
        async with redirecting(url) as server:
            assert (await failure(fetch_async(server.url + '/to'))).curl_code in (1, 3)
    run(test())


def test_other_protocols_are_spoken_where_asked(run, tmp_path):
    (tmp_path / 'page').write_text('a file')

    async def test():
        assert (await fetch_async(f'file://{tmp_path}/page', protocols=['file'])).body == b'a file'
        async with answering(answer(b'')) as server:
            assert (await failure(fetch_async(server.url, protocols=['https']))).curl_code == 1
            assert server.accepted == 0
    run(test())


# --- The request's length -------------------------------------------------------------------------

@pytest.mark.parametrize('headers', [
    [('Content-Length', '3'), ('content-length', '4')], [('Content-Length', '3'), ('Content-Length', '3')],
    {'Content-Length': '4'}, {'Content-Length': ''}, {'Content-Length': None}, {'Content-Length': '+3'},
    {'Content-Length': '3, 3'}, {'Content-Length': '0x3'}, {'Content-Length': '9' * 30}, {'Content-Length ': '3'},
    {'Content-Length:': '3'}], ids=str)
@pytest.mark.parametrize('body', [b'abc', [b'abc']], ids=['whole', 'chunks'])
def test_a_length_that_is_not_the_bodys_is_refused(run, headers, body):
    async def test():
        async with answering(answer(b'')) as server:
            with pytest.raises((ValueError, uwsgi_tornado.HTTPError)):
                await fetch_async(server.url, body=body, headers=headers, request_timeout=5)
    run(test())


@pytest.mark.parametrize('method', ['POST', 'PUT', 'PATCH', 'DELETE', 'GET'])
@pytest.mark.parametrize('body', [b'abc', [b'a', b'bc']], ids=['whole', 'chunks'])
def test_a_length_that_is_right_goes_out_once(run, method, body):
    async def test():
        async with answering(answer(b'')) as server:
            await fetch_async(server.url, method=method, body=body, headers={'content-length': '3'})
            request = server.requests[0]
            assert request.headers.get_all('Content-Length') == ['3'] and request.headers['Transfer-Encoding'] is None
            assert request.method == method and request.body == b'abc'
    run(test())


@pytest.mark.parametrize('body', [[b'ab'], [b'ab', b'cd'], [b'abc', b'd'], []], ids=str)
def test_a_body_that_is_not_as_long_as_said_is_an_error(run, body):
    async def handler(served, reader, writer):
        await served.take(reader)
        assert len(served.requests[-1].body) == 3
        writer.write(answer(b'fine'))
        assert await reader.read() == b''

    async def test():
        async with upstream(handler) as server:
            too_long = body == [b'abc', b'd']  # Only what was said is asked for.
            if too_long:
                await asyncio.wait([asyncio.ensure_future(fetch_async(server.url, body=body, headers={'Content-Length': '3'}))])
            else:
                error = await failure(fetch_async(server.url, body=body, headers={'Content-Length': '3'}, request_timeout=10))
                assert 'er than its Content-Length' in str(error)
    run(test())
