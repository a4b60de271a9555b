"""Tornado's hello; tornado_hello.py PORT BACKLOG: under Tornado's own server."""
import asyncio
import sys

from tornado.web import Application, RequestHandler


class Hello(RequestHandler):
    def get(self):
        self.set_header('Content-Type', 'text/plain')
        self.write('hello')


application = Application([('/hello', Hello)], log_function=lambda handler: None)


async def main():
    application.listen(int(sys.argv[1]), '127.0.0.1', backlog=int(sys.argv[2]))
    await asyncio.Event().wait()


if __name__ == '__main__':
    asyncio.run(main())
