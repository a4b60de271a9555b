"""The caching framework, local and of another uWSGI: requests that read and write it."""
import threading

from waiting import serve

import uwsgi

wanting = 0


def arguments(query):
    """name,key,value as bytes and text; the name comes last in uWSGI's functions."""
    name, *rest = query.split(',')
    return [*rest, name]


def set_and_get(query):
    key, value, name = arguments(query)
    return uwsgi.cache_set(key, value.encode(), 0, name), uwsgi.cache_get(key, name)


def every_function(query):
    """What each says, of a cache that has `key` and does not have `none`."""
    name, = arguments(query)
    said = [
        uwsgi.cache_set('key', b'1', 0, name), uwsgi.cache_set('key', b'2', 0, name), uwsgi.cache_get('key', name),
        uwsgi.cache_update('key', b'3', 0, name), uwsgi.cache_get('key', name),
        uwsgi.cache_exists('key', name), uwsgi.cache_exists('none', name), uwsgi.cache_get('none', name),
        uwsgi.cache_del('key', name), uwsgi.cache_del('none', name), uwsgi.cache_get('key', name),
        uwsgi.cache_set('num', (77).to_bytes(8, 'little'), 0, name), uwsgi.cache_num('num', name),
        uwsgi.cache_clear(name), uwsgi.cache_exists('num', name),
    ]
    return said


def large(query):
    name, = arguments(query)
    value = b'0123456789' * 50000
    stored = uwsgi.cache_update('large', value, 0, name)
    return stored, uwsgi.cache_get('large', name) == value


def count(key):
    """Twenty more, in steps that others may come between."""
    for _ in range(20):
        uwsgi.cache_inc(key, 1, 0, 'here')
    return 'counted'


def write(key):
    global wanting
    wanting += 1
    done = uwsgi.cache_update(key, b'written', 0, 'here')
    wanting -= 1
    return done


def busy(_):
    """Threads of the application use the cache beside the requests."""
    threads = [threading.Thread(target=count, args=['threads']) for _ in range(4)]
    for thread in threads:
        thread.start()
    count('threads')
    for thread in threads:
        thread.join()
    return uwsgi.cache_num('threads', 'here')


def keys(_):
    return sorted(uwsgi.cache_keys('here'))


application = serve({'/set_and_get': set_and_get, '/every_function': every_function, '/large': large,
                     '/inc': count, '/num': lambda key: uwsgi.cache_num(key, 'here'), '/write': write,
                     '/wanting': lambda _: wanting, '/busy': busy, '/keys': keys})
