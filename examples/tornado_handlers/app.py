import asyncio
import os

import tornado.httpclient
import tornado.ioloop
import tornado.web
import tornado.websocket

FETCHED = os.environ.get('FETCHED', 'http://127.0.0.1:9090/')


class MainHandler(tornado.web.RequestHandler):
    def get(self):
        self.write('Hello, world')


class PageHandler(tornado.web.RequestHandler):
    def get(self):
        self.render('page.html', title='Tornado on uWSGI', readers=len(NewsHandler.readers))


class JsonHandler(tornado.web.RequestHandler):
    async def get(self):
        await asyncio.sleep(0.01)
        self.write({'from': self.request.remote_ip, 'readers': len(NewsHandler.readers)})


class FetchHandler(tornado.web.RequestHandler):
    async def get(self):
        response = await tornado.httpclient.AsyncHTTPClient().fetch(FETCHED)
        self.write(b'fetched: ' + response.body)


class NewsHandler(tornado.websocket.WebSocketHandler):
    readers = set()

    def open(self, *args, **kwargs):
        self.readers.add(self)

    def on_message(self, message):
        self.write_message('you said ' + message)

    def on_close(self):
        self.readers.discard(self)


news = 0


def broadcast():
    global news
    news += 1
    for reader in NewsHandler.readers:
        reader.write_message(f'news {news}')


application = tornado.web.Application([
    (r'/', MainHandler),
    (r'/page', PageHandler),
    (r'/json', JsonHandler),
    (r'/fetch', FetchHandler),
    (r'/news', NewsHandler),
], template_path=os.path.dirname(os.path.abspath(__file__)))

tornado.ioloop.PeriodicCallback(broadcast, 1000).start()
