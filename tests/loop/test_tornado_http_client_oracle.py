"""Tornado's own tests of an AsyncHTTPClient, run on ours. All of them hold."""
import asyncio

import pytest
import tornado
import uwsgi_tornado
from tornado.test import httpclient_test


@pytest.fixture(autouse=True)
def our_loops(request):
    policy = uwsgi_tornado.EventLoopPolicy()
    asyncio.set_event_loop_policy(policy)
    yield
    if tornado.version_info < (6, 3):
        policy.get_event_loop().close()  # That of the thread, which Tornado's test case leaves.
    asyncio.set_event_loop_policy(None)
    vars(request.instance).clear()  # pytest keeps the test case, and that its loop.


class TestHTTPClientCommon(httpclient_test.HTTPClientCommonTestCase):
    def get_http_client(self):
        client = uwsgi_tornado.AsyncHTTPClient()
        assert type(client) is uwsgi_tornado.AsyncHTTPClient
        return client
