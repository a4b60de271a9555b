"""How a fetch is called."""
import pytest
from http_upstream import answer, answering, run
from uwsgi_tornado import fetch_async


def test_the_url_may_be_given_by_name(run):
    async def test():
        async with answering(answer(b'page')) as server:
            assert (await fetch_async(url=server.url, method='GET')).body == b'page'
            for args, kwargs in (((), {}), ((server.url,), {'url': server.url}), ((server.url, 'GET'), {})):
                with pytest.raises(TypeError, match=r'fetch_async\(\) takes a URL, and all other arguments by name'):
                    fetch_async(*args, **kwargs)
    run(test())


def test_a_name_that_means_nothing_is_refused(run):
    async def test():
        with pytest.raises(TypeError, match=r"fetch_async\(\) got an unexpected keyword argument 'metod'"):
            fetch_async('http://127.0.0.1:1', metod='GET')
    run(test())
