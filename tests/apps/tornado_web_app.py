"""A Tornado application of many parts. Run by itself (PORT as its argument) it is on Tornado's own server: what is compared with."""
import asyncio
import os
import pathlib
import sys

import tornado.ioloop
import tornado.web
import tornado.websocket
from tornado import httputil, iostream

FOLDER = pathlib.Path(__file__).parent


def heard(line):
    print('HEARD', line, flush=True)


class Hello(tornado.web.RequestHandler):
    def get(self):
        self.write('Hello, world')


class Template(tornado.web.RequestHandler):
    def get(self):
        self.finish(tornado.web.template.Template('<h1>{{ title }}</h1>{% for n in numbers %}<li>{{ n }}</li>{% end %}').generate(
            title=self.get_argument('title', 'Tornado & <uWSGI>'), numbers=range(3)))


class Json(tornado.web.RequestHandler):
    def get(self):
        self.write({'ip': self.request.remote_ip, 'protocol': self.request.protocol, 'method': self.request.method,
                    'path': self.request.path, 'query': self.request.query, 'version': self.request.version,
                    'arguments': {name: self.get_arguments(name) for name in self.request.arguments}})

    def post(self):
        self.write({'body': self.request.body.decode('latin1'), 'files': {
            name: [(file.filename, file.content_type, len(file.body)) for file in files] for name, files in self.request.files.items()},
            'arguments': {name: self.get_body_arguments(name) for name in self.request.body_arguments}})

    put = patch = delete = options = post


class Headers(tornado.web.RequestHandler):
    def get(self):
        self.set_header('X-One', 'uno')
        self.add_header('X-Two', 'a')
        self.add_header('X-Two', 'b')
        self.set_header('X-Latin', 'caf\xe9')
        self.write({name: value for name, value in self.request.headers.get_all() if name.startswith('X-')})


class Redirect(tornado.web.RequestHandler):
    def get(self):
        self.redirect('/json?from=here', permanent=self.get_argument('permanent', '') == '1')


class Status(tornado.web.RequestHandler):
    def get(self, code):
        self.set_status(int(code), self.get_argument('reason', None))
        if code not in ('204', '304'):
            self.write('status ' + code)

    head = get


class Raise(tornado.web.RequestHandler):
    def get(self, what):
        if what == 'http':
            raise tornado.web.HTTPError(418, 'a teapot', reason="I'm a teapot")
        if what == 'finish':
            raise tornado.web.Finish('finished early')
        if what == 'late':
            self.write('some of it')
            self.flush()
        raise ValueError(what)


class Newline(tornado.web.RequestHandler):
    """What would be a header of the client's: nothing of it is to be on the wire."""

    def get(self, what):
        name, value = {'name': ('X\r\nInjected: yes\r\nY', 'v'), 'value': ('X', 'v\r\nInjected: yes'), 'nul': ('X', 'v\0'),
                       'empty': ('', 'v'), 'space': ('X Injected', 'v')}[what]
        headers = httputil.HTTPHeaders({'Content-Length': '0'})
        headers.get_all = lambda: [(name, value)]  # Tornado's own would refuse some of it before.
        self.request.connection.write_headers(httputil.ResponseStartLine('', 200, 'OK'), headers)


class Cookies(tornado.web.RequestHandler):
    def get(self):
        seen = {name: morsel.value for name, morsel in self.request.cookies.items()}
        self.set_cookie('plain', 'value', path='/x', httponly=True, expires_days=None)
        self.clear_cookie('gone')
        self.write({'seen': seen, 'signed': (self.get_secure_cookie('signed') or b'').decode()})


class Signed(tornado.web.RequestHandler):
    def get(self):
        self.set_secure_cookie('signed', 'who')
        self.write('signed')


class Xsrf(tornado.web.RequestHandler):
    def get(self):
        self.write(self.xsrf_form_html())

    def post(self):
        self.write('accepted')

    def check_xsrf_cookie(self):
        tornado.web.RequestHandler.check_xsrf_cookie(self)


class NoXsrf:
    def check_xsrf_cookie(self):
        pass


class Chunks(tornado.web.RequestHandler):
    async def get(self):
        for number in range(int(self.get_argument('count', '5'))):
            self.write(f'chunk {number}\n')
            await self.flush()
            if self.get_argument('wait', ''):
                await asyncio.sleep(0.001)

    head = get


class Length(tornado.web.RequestHandler):
    async def get(self, said):
        self._headers['Content-Length'] = said  # set_header() of Tornado 6.5 refuses digits of other scripts.
        self.write('0123456789')
        await self.flush()
        self.write('abc')


class Big(tornado.web.RequestHandler):
    async def get(self):
        piece = bytes(range(256)) * 256
        for _ in range(int(self.get_argument('pieces'))):
            self.write(piece)
            await self.flush()


@tornado.web.stream_request_body
class Upload(NoXsrf, tornado.web.RequestHandler):
    def prepare(self):
        self.pieces = []
        if self.get_argument('most', ''):
            self.request.connection.set_max_body_size(int(self.get_argument('most')))
        if self.get_argument('refuse', ''):
            raise tornado.web.HTTPError(403)

    async def data_received(self, chunk):
        await asyncio.sleep(0)
        self.pieces.append(chunk)
        heard('uploading')
        if self.get_argument('echo', ''):
            self.write(chunk)
            self.flush()

    def post(self):
        if not self.get_argument('echo', ''):
            self.write({'size': sum(map(len, self.pieces)), 'ends': b''.join(self.pieces)[-10:].decode('latin1')})

    put = post

    def on_connection_close(self):
        heard(f'upload left at {sum(map(len, self.pieces))}')


class Wait(tornado.web.RequestHandler):
    """Until its client leaves, or somebody else ends it."""

    async def get(self):
        heard('waiting')
        if self.get_argument('begun', ''):
            self.write('begun')
            await self.flush()
        self.future = asyncio.get_running_loop().create_future()
        try:
            self.write(str(await self.future))
        except asyncio.CancelledError:
            heard('cancelled')
            if self.get_argument('answer', ''):
                self.set_status(503)
                self.finish('cancelled')
                return
            raise
        finally:
            heard('waited')

    def on_connection_close(self):
        heard('left')
        if not self.future.done():
            self.future.set_result('left')


class WriteToLeft(tornado.web.RequestHandler):
    async def get(self):
        try:
            while True:
                self.write(b'x' * 65536)
                await self.flush()
        except iostream.StreamClosedError:
            heard('closed')


class Chat(tornado.websocket.WebSocketHandler):
    everyone = set()

    def select_subprotocol(self, subprotocols):
        return 'chat' if 'chat' in subprotocols else None

    def get_compression_options(self):
        return {} if self.get_argument('compress', '') else None

    def open(self):
        self.everyone.add(self)
        if self.get_argument('hello', ''):
            self.write_message('hello')

    async def on_message(self, message):
        if message == 'close':
            self.close(4001, 'as you wish')
        elif message == 'raise':
            raise ValueError('in on_message')
        elif message == 'wait':
            await asyncio.sleep(3600)
        elif isinstance(message, bytes):
            await self.write_message(message[::-1], binary=True)
        else:
            await self.write_message(message.upper())

    def on_pong(self, data):
        heard(f'pong {data!r}')

    def on_close(self):
        self.everyone.discard(self)
        heard(f'closed {self.close_code} {self.close_reason}')


def broadcast():
    for chat in Chat.everyone:
        chat.write_message('tick')


class Ticker(tornado.web.RequestHandler):
    ticker = tornado.ioloop.PeriodicCallback(broadcast, 10)

    def get(self):
        self.ticker.start()
        self.write('started')

    def delete(self):
        self.ticker.stop()
        self.write('stopped')

    check_xsrf_cookie = NoXsrf.check_xsrf_cookie


def with_no_xsrf(handler):
    return type(handler.__name__, (NoXsrf, handler), {})


application = tornado.web.Application([
    (r'/', Hello), (r'/template', Template), (r'/json', with_no_xsrf(Json)), (r'/headers', Headers), (r'/redirect', Redirect),
    (r'/status/([0-9]+)', Status), (r'/raise/(.*)', Raise), (r'/newline/(.*)', Newline), (r'/cookies', Cookies), (r'/signed', Signed),
    (r'/xsrf', Xsrf), (r'/chunks', Chunks), (r'/length/(.*)', Length), (r'/big', Big), (r'/upload', Upload), (r'/wait', Wait),
    (r'/write_to_left', WriteToLeft), (r'/chat', Chat), (r'/ticker', Ticker),
    (r'/moved', tornado.web.RedirectHandler, {'url': '/json', 'permanent': False}),
    (r'/files/(.*)', tornado.web.StaticFileHandler, {'path': os.environ.get('FILES', str(FOLDER)), 'default_filename': 'index.html'}),
], cookie_secret='not so secret', xsrf_cookies=True, websocket_max_message_size=100000)

if 'LISTEN' in os.environ:  # Beside uWSGI's socket.
    application.listen(int(os.environ['LISTEN']), '127.0.0.1')

if __name__ == '__main__':
    application.listen(int(sys.argv[1]), '127.0.0.1')
    print('listening', flush=True)
    tornado.ioloop.IOLoop.current().start()
