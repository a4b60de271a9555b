"""Tornado's own tests of an AsyncHTTPClient, run on ours. All of them hold."""
import asyncio

import pytest
import uwsgi_tornado
from tornado.test import httpclient_test


@pytest.fixture(scope='module', autouse=True)
def our_loops():
    asyncio.set_event_loop_policy(uwsgi_tornado.EventLoopPolicy())
    yield
    asyncio.set_event_loop_policy(None)


class TestHTTPClientCommon(httpclient_test.HTTPClientCommonTestCase):
    def get_http_client(self):
        client = uwsgi_tornado.AsyncHTTPClient()
        assert type(client) is uwsgi_tornado.AsyncHTTPClient
        return client
