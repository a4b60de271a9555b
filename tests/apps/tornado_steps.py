"""A handler that does in its later steps what only the request of a step can do."""
import asyncio
import time

import tornado.web
import uwsgi


class Later(tornado.web.RequestHandler):
    async def get(self):
        await asyncio.sleep(0.05)
        uwsgi.set_logvar('who', 'later')
        time.sleep(float(self.get_argument('block', '0')))
        await asyncio.sleep(0.05)
        self.write(f'{uwsgi.request_id() > 0}')

    async def post(self):
        await self.get()


application = tornado.web.Application([('/', Later)])
