"""Requests as bytes, in the protocols that web servers speak to uWSGI."""
import struct


def variables(path, method, body):
    path, _, query = path.partition('?')
    return {'REQUEST_METHOD': method, 'REQUEST_URI': path, 'PATH_INFO': path, 'QUERY_STRING': query,
            'SERVER_PROTOCOL': 'HTTP/1.1', 'CONTENT_LENGTH': str(len(body)), 'SCRIPT_NAME': '',
            'HTTP_HOST': 'localhost', 'SERVER_NAME': 'localhost', 'SERVER_PORT': '80', 'REMOTE_ADDR': '127.0.0.1'}


def http_request(path, method='GET', body=b'', version=b'1.0'):
    return b'%s %s HTTP/%s\r\nContent-Length: %d\r\n\r\n%s' % (method.encode(), path.encode(), version, len(body), body)


def uwsgi_request(path, method='GET', body=b'', modifier1=0, **more):
    """`more` are variables besides: UWSGI_FILE and the like."""
    def packed(text):
        return struct.pack('<H', len(text)) + text.encode()

    block = b''.join(packed(k) + packed(v) for k, v in {**variables(path, method, body), **more}.items())
    return struct.pack('<BHB', modifier1, len(block), 0) + block + body


def scgi_request(path, method='GET', body=b''):
    said = {'CONTENT_LENGTH': str(len(body)), 'SCGI': '1', **variables(path, method, body)}
    block = b''.join(k.encode() + b'\0' + v.encode() + b'\0' for k, v in said.items())
    return b'%d:%s,%s' % (len(block), block, body)


def fastcgi_request(path, method='GET', body=b''):
    begin, params, stdin = 1, 4, 5

    def record(kind, content):
        return struct.pack('>BBHHBB', 1, kind, 1, len(content), 0, 0) + content

    def packed(text):
        size = len(text)
        return struct.pack('>B' if size < 128 else '>I', size if size < 128 else size | 1 << 31)

    block = b''.join(packed(k) + packed(v) + k.encode() + v.encode()
                     for k, v in variables(path, method, body).items())
    request = record(begin, struct.pack('>HB5x', 1, 0)) + record(params, block) + record(params, b'')
    for start in range(0, len(body), 60000):
        request += record(stdin, body[start:start + 60000])
    return request + record(stdin, b'')
