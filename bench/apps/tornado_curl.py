"""tornado_curl.py PORT: Tornado's web server, each request a fetch by its client on pycurl."""
import asyncio
import os
import sys

from tornado.httpclient import AsyncHTTPClient
from tornado.web import Application, RequestHandler


class Fetch(RequestHandler):
    async def get(self):
        response = await AsyncHTTPClient().fetch(os.environ['BENCH_UPSTREAM'])
        self.write(response.body)


async def main():
    AsyncHTTPClient.configure('tornado.curl_httpclient.CurlAsyncHTTPClient', max_clients=300)
    Application([('/.*', Fetch)], log_function=lambda handler: None).listen(int(sys.argv[1]), '127.0.0.1', backlog=1024)
    await asyncio.Event().wait()


asyncio.run(main())
