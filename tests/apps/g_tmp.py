import gc, threading, time
import greenlet
kept = {}

def dormant(seen):
    try:
        greenlet.getcurrent().parent.switch('begun')
    except greenlet.GreenletExit:
        seen.append(threading.get_ident()); raise

def deep(n, f):
    pad = bytes(200)
    return deep(n-1, f) if n else f()

def application(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/keep':
        seen = []
        g = greenlet.greenlet(dormant)
        deep(30, lambda: g.switch(seen))
        kept['g'] = g; kept['seen'] = seen; kept['me'] = threading.get_ident()
        time.sleep(float(environ['QUERY_STRING'] or 1))
        body = 'kept'
    elif path == '/drop':
        kept.pop('g'); gc.collect()
        body = f"{kept['seen']} {kept['me']} {threading.get_ident()}"
    elif path == '/switch':
        try:
            body = str(kept['g'].switch())
        except greenlet.error as e:
            body = 'error ' + str(e)
    else:
        body = 'hello'
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [body.encode()]
