"""Tornado's AsyncHTTPClient, which nobody here configures."""
import importlib.util

available = importlib.util.find_spec('tornado.httpclient') is not None  # As libraries do that can go without.

from tornado.httpclient import AsyncHTTPClient


def application(environ, start_response):
    client = AsyncHTTPClient.configured_class()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [f'{available} {client.__module__}'.encode()]
