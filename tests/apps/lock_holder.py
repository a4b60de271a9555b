"""A mule: another process, that takes uWSGI's locks as it is told and stops for them as processes do."""
import ctypes

import uwsgi

core = ctypes.CDLL(None)
core.uwsgi_cache_by_name.restype = ctypes.c_void_p
core.uwsgi_cache_rlock.argtypes = core.uwsgi_cache_rwunlock.argtypes = [ctypes.c_void_p]

DO = {
    b'lock': uwsgi.lock,
    b'unlock': uwsgi.unlock,
    b'lock cache': lambda: core.uwsgi_cache_rlock(core.uwsgi_cache_by_name(b'here')),
    b'unlock cache': lambda: core.uwsgi_cache_rwunlock(core.uwsgi_cache_by_name(b'here')),
    b'lock area': lambda: uwsgi.sharedarea_wlock(0),
    b'unlock area': lambda: uwsgi.sharedarea_unlock(0),
}

while True:
    order = uwsgi.mule_get_msg()
    print('mule begins:', order.decode(), flush=True)
    DO[order]()
    print('mule has done:', order.decode(), flush=True)
