"""Requests that compute, and one that looks at them again and again."""
import uwsgi_tornado


def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    if environ['PATH_INFO'] == '/compute':
        return [b'%d' % sum(number % 7 for number in range(20000))]
    worst = 0
    for _ in range(200):
        text = uwsgi_tornado.dump()
        rows = [row for row in uwsgi_tornado.fibers() if row['state'] == 'runs']
        worst = max(worst, text.count('  outside Python\n'), len(rows) - 1, text.count(', runs\n') - 1)
    return [b'%d' % worst]
