"""Finds out which interface an application uses."""
import functools
import inspect
import sys

ARGUMENTS = ('a WSGI application takes (environ, start_response), an ASGI application (scope, receive, send)')


def interface_of(application, allowed):
    """Returns (interface, None), or (None, reason). `allowed` has the names of the interfaces that are served."""
    target = without_partials(application)
    tornado = sys.modules.get('tornado.httputil')
    if tornado and isinstance(target, tornado.HTTPServerConnectionDelegate):
        return ('tornado' if 'tornado' in allowed else 'wsgi'), None
    if inspect.isclass(target):
        if tornado and issubclass(target, tornado.HTTPServerConnectionDelegate):
            return None, f'{described(application)} is a class: name an instance of it, {target.__name__}(...)'
        return interface_of_class(application, target)
    call = target if inspect.isroutine(target) else getattr(type(target), '__call__', None)
    if call is None:
        return None, f'{described(application)} cannot be called'
    if is_coroutine_function(call):
        if takes(application, 3):
            return 'asgi', None
        return None, f'{described(application)} is a coroutine function, but does not take (scope, receive, send)'
    if takes(application, 2):
        return 'wsgi', None
    if takes(application, 3):
        return 'asgi', None  # It may return a coroutine of another function.
    if takes(application, 1):
        return None, (f'{described(application)} takes one argument, as ASGI 2 applications do: '
                      'convert it with asgiref.compatibility.guarantee_single_callable()')
    return None, f'{described(application)} takes other arguments: {ARGUMENTS}'


def interface_of_class(application, target):
    """A class may be a WSGI application; uWSGI then iterates over its instances."""
    call = vars_of(target).get('__call__')
    if call is None or not is_coroutine_function(call):
        return 'wsgi', None
    if takes(call, 3):
        return None, (f'{described(application)} takes (receive, send) after its scope, as ASGI 2 applications do: '
                      'convert it with asgiref.compatibility.guarantee_single_callable()')
    return None, f'{described(application)} is a class: name an instance of it, {target.__name__}(...)'


def vars_of(target):
    found = {}
    for base in reversed(target.__mro__):
        found.update(vars(base))
    return found


def without_partials(application):
    while isinstance(application, functools.partial):
        application = application.func
    return application


def is_coroutine_function(function):
    """True also for functions that asyncio.coroutine() or asgiref has marked as one."""
    return inspect.iscoroutinefunction(function) or getattr(function, '_is_coroutine', None) is not None


def takes(function, count):
    """Whether the function can be called with `count` arguments. If this is unknown, it is taken to have two."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except ValueError:
        return count == 2
    except TypeError:
        return False
    return True


def described(application):
    target = without_partials(application)
    if inspect.isclass(target):
        return f'the class {target.__qualname__}'
    if inspect.isroutine(target):
        return f'the function {target.__qualname__}()'
    return f'a {type(target).__qualname__} object'
