"""What a request looked like when it arrived, for tests of protocols and connections."""
import json
import os
import time


def answer(start_response, body, *headers):
    start_response('200 OK', [('Content-Length', str(len(body))), *headers])
    return [body]


def echo(environ, start_response):
    """The request as JSON, its body included."""
    size = int(environ.get('CONTENT_LENGTH') or 0)
    body = environ['wsgi.input'].read(size) if size else b''
    return answer(start_response, json.dumps({
        'method': environ['REQUEST_METHOD'], 'path': environ['PATH_INFO'], 'script': environ['SCRIPT_NAME'],
        'query': environ['QUERY_STRING'], 'peer': environ.get('REMOTE_ADDR'),
        'scheme': environ['wsgi.url_scheme'], 'body': body.decode('latin-1'), 'header': environ.get('HTTP_X_TEST'),
        'pid': os.getpid()}).encode())


def wait(environ, start_response):
    time.sleep(float(environ['QUERY_STRING']))
    return answer(start_response, b'waited')


def unread(environ, start_response):
    """Leaves the body of the request where it is."""
    return answer(start_response, b'unread')


def chunks(environ, start_response):
    """A body without a length, read to its end."""
    import uwsgi
    body = b''
    while chunk := uwsgi.chunked_read():
        body += chunk
    return answer(start_response, body or b'none')


def endless(environ, start_response):
    """A response whose end only the end of the connection tells."""
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [] if environ['REQUEST_METHOD'] == 'HEAD' else [b'one ', b'two']


def close(environ, start_response):
    return answer(start_response, b'closing', ('Connection', 'close'))


def too_much(environ, start_response):
    start_response('200 OK', [('Content-Length', '3')])
    return [b'hello']


def too_little(environ, start_response):
    start_response('200 OK', [('Content-Length', '9')])
    return [b'hello']


def disconnected(environ, start_response):
    """Answers, lets the client go and works on. What it does with the connection then meets nobody's."""
    import uwsgi
    import uwsgi_tornado
    write = start_response('200 OK', [('Content-Length', '4')])
    write(b'gone')
    uwsgi.disconnect()
    said = [uwsgi_tornado.is_connected(), uwsgi.connection_fd()]
    time.sleep(float(environ['QUERY_STRING'] or 0))
    try:
        write(b'more')
    except OSError as error:
        said.append(type(error).__name__)
    uwsgi.disconnect()
    print('disconnected:', said, flush=True)
    return []


def head_with_body(environ, start_response):
    start_response('200 OK', [('Content-Length', '5')])
    return [b'hello']


def empty(environ, start_response):
    start_response('204 No Content', [])
    return []


def application(environ, start_response):
    name = environ['PATH_INFO'].strip('/').split('/')[0] or 'echo'
    return globals()[name](environ, start_response)
