"""Recursion of every kind. The functions in ENDLESS recurse until Python stops them; those in ENDS
are deep without a limit of Python's, and end by themselves."""
import ast
import copy
import ctypes
import functools
import io
import itertools
import json
import operator
import pickle
import re
import sqlite3
import sys
import xml.etree.ElementTree as ElementTree

DEEP = 100_000


def nested(make, levels=DEEP):
    value = make(None)
    for _ in range(levels):
        value = make(value)
    return value


class Again:
    """Each operation on it is the same operation on another of it."""

    def __getattr__(self, name):
        return getattr(Again(), name)

    def __repr__(self):
        return repr(Again())

    def __str__(self):
        return str(Again())

    def __format__(self, spec):
        return format(Again(), spec)

    def __eq__(self, other):
        return Again() == other

    def __lt__(self, other):
        return Again() < Again()

    def __hash__(self):
        return hash(Again())

    def __bool__(self):
        return bool(Again())

    def __len__(self):
        return len(Again())

    def __iter__(self):
        return iter(Again())

    def __call__(self):
        return Again()()

    def __getitem__(self, key):
        return Again()[key]

    def __add__(self, other):
        return Again() + other

    def __index__(self):
        return operator.index(Again())

    def __contains__(self, item):
        return item in Again()

    def __enter__(self):
        with Again():
            pass

    def __exit__(self, *_):
        pass

    def __reduce__(self):
        return Again, (), Again()

    def __deepcopy__(self, memo):
        return copy.deepcopy(Again(), memo)

    @property
    def attribute(self):
        return Again().attribute


class AgainMade:
    def __init__(self):
        AgainMade()


class AgainSubclassed:
    def __init_subclass__(cls):
        type('Sub', (cls,), {})


@functools.lru_cache(None)
def cached(level):
    return cached(level + 1)


def in_sort_key(_):
    return sorted([1], key=in_sort_key)


def in_hash_of_nested(levels):
    return hash(nested(lambda inner: (inner,), levels))


def in_sort_compare(a=None, b=None):
    return sorted([1, 2], key=functools.cmp_to_key(in_sort_compare))


def in_map(_):
    return list(map(in_map, [1]))


def in_filter(_):
    return list(filter(in_filter, [1]))


def in_reduce(*_):
    return functools.reduce(in_reduce, [1, 2])


def in_partial(*_):
    return functools.partial(in_partial, 1)()


def in_max(_):
    return max([1, 2], key=in_max)


def in_exec():
    exec('in_exec()', {'in_exec': in_exec})


def in_eval():
    return eval('in_eval()', {'in_eval': in_eval})


def in_generator():
    yield from in_generator()


def in_comprehension():
    return [in_comprehension() for _ in range(1)]


def in_coroutine():
    async def deeper():
        await deeper()

    deeper().send(None)


def in_json_hook():
    return json.loads('{"a": 1}', object_hook=lambda found: in_json_hook())


def in_json_default():
    return json.dumps(Again(), default=lambda value: [Again()])


def in_except():
    try:
        raise KeyError
    except KeyError:
        in_except()


def in_finally():
    try:
        raise KeyError
    finally:
        in_finally()


def in_sql():
    connection = sqlite3.connect(':memory:')
    errors = []

    def again():
        try:
            return connection.execute('select again()').fetchone()[0]
        except (RecursionError, sqlite3.OperationalError) as error:
            errors.append(error)
            return 0

    connection.create_function('again', 0, again)
    again()
    raise RecursionError('in SQLite') from errors[0]


def in_ctypes():
    @ctypes.CFUNCTYPE(None)
    def callback():
        callback()

    callback()
    raise RecursionError('ctypes has reported it')


def in_xml_handler():
    class Builder:
        def start(self, tag, attributes):
            in_xml_handler()

    ElementTree.XMLParser(target=Builder()).feed('<a>')


def plain():
    return plain()


def by_default(_=None):
    return by_default()


ENDLESS = {
    'plain': plain,
    'by_default': by_default,
    'getattr': lambda: Again().x,
    'property': lambda: Again().attribute,
    'repr': lambda: repr(Again()),
    'str': lambda: str(Again()),
    'format': lambda: f'{Again()}',
    'eq': lambda: Again() == 1,
    'lt': lambda: Again() < Again(),
    'hash': lambda: hash(Again()),
    'bool': lambda: bool(Again()),
    'len': lambda: len(Again()),
    'iter': lambda: iter(Again()),
    'call': lambda: Again()(),
    'getitem': lambda: Again()[0],
    'add': lambda: Again() + 1,
    'index': lambda: [1][Again()],
    'contains': lambda: 1 in Again(),
    'with': lambda: Again().__enter__(),
    'init': AgainMade,
    'init_subclass': lambda: type('Sub', (AgainSubclassed,), {}),
    'pickle': lambda: pickle.dumps(Again()),
    'pickle_in_python': lambda: pickle._Pickler(io.BytesIO()).dump(nested(lambda inner: [inner])),
    'deepcopy': lambda: copy.deepcopy(Again()),
    'lru_cache': lambda: cached(0),
    'sort_key': lambda: in_sort_key(1),
    'sort_compare': in_sort_compare,
    'sort_objects': lambda: [Again(), Again()].sort(),
    'map': lambda: in_map(1),
    'filter': lambda: in_filter(1),
    'reduce': in_reduce,
    'partial': in_partial,
    'max_key': lambda: in_max(1),
    'exec': in_exec,
    'eval': in_eval,
    'generator': lambda: list(in_generator()),
    'comprehension': in_comprehension,
    'coroutine': in_coroutine,
    'json_hook': in_json_hook,
    'json_default': in_json_default,
    'except': in_except,
    'finally': in_finally,
    'sql': in_sql,
    'ctypes': in_ctypes,
    'xml_handler': in_xml_handler,
    'json_dumps': lambda: json.dumps(nested(lambda inner: [inner])),
    'json_loads': lambda: json.loads('[' * DEEP),
    'pickle_nested': lambda: pickle.dumps(nested(lambda inner: [inner])),
    'repr_list': lambda: repr(nested(lambda inner: [inner])),
    'repr_dict': lambda: repr(nested(lambda inner: {1: inner})),
    'repr_tuple': lambda: repr(nested(lambda inner: (inner,))),
    'eq_lists': lambda: nested(lambda inner: [inner]) == nested(lambda inner: [inner]),
    'lt_tuples': lambda: nested(lambda inner: (inner,)) < nested(lambda inner: (inner,)),
    'deepcopy_nested': lambda: copy.deepcopy(nested(lambda inner: [inner])),
    'partial_repr': lambda: repr(nested(lambda inner: functools.partial(print, inner))),
    'isinstance': lambda: isinstance(1, nested(lambda inner: (inner,), 10 * DEEP)),  # In 3.14 a level takes few bytes of stack.
    'literal_eval': lambda: ast.literal_eval('-' * DEEP + '1'),
    'compile_unary': lambda: compile('-' * DEEP + '1', '', 'eval'),
    'compile_not': lambda: compile('not ' * DEEP + '1', '', 'eval'),
    'compile_lambda': lambda: compile('lambda: ' * DEEP + '1', '', 'eval'),
    'compile_if': lambda: compile('1 if 1 else ' * DEEP + '1', '', 'eval'),
    'compile_attributes': lambda: compile('a' + '.a' * DEEP, '', 'eval'),
    'compile_sum': lambda: compile('a' + '+a' * DEEP, '', 'eval'),
    'ast_object': lambda: compile(
        ast.Expression(nested(lambda inner: ast.UnaryOp(
            ast.Not(), inner or ast.Constant(1, lineno=1, col_offset=0), lineno=1, col_offset=0))), '', 'eval'),
}
# There CPython does not count calls that leave arguments to their defaults (gh-132744): nothing ends the first of these but the
# memory, and the second has 200,000 levels, whose traceback takes ten seconds.
if (3, 13) <= sys.version_info < (3, 13, 8):
    del ENDLESS['by_default'], ENDLESS['deepcopy_nested']

ENDS = {
    'caught_at_the_bottom': lambda: caught_at_the_bottom(),
    'hash_tuple': lambda: hash(nested(lambda inner: (inner,), 40_000)) and None,
    'free_lists': lambda: nested(lambda inner: [inner]) and None,
    'free_tuples': lambda: nested(lambda inner: (inner,)) and None,
    'free_dicts': lambda: nested(lambda inner: {1: inner}) and None,
    'free_objects': lambda: nested(Held) and None,
    'free_partials': lambda: nested(lambda inner: functools.partial(print, inner)) and None,
    'free_tracebacks': lambda: chained_errors(),
    'free_generators': lambda: nested(waiting_generator, 20_000) and None,
    'chain': lambda: list(nested(lambda inner: itertools.chain(inner or ()), 20_000)),
    'xml_deepcopy': lambda: copy.deepcopy(nested_elements(20_000)) and None,
    'xml_text': lambda: ElementTree.fromstring('<a>' * 5_000 + '</a>' * 5_000) and None,
    'regular_expression': lambda: re.match('(?:a|b)*?c', 'ab' * DEEP),
}


class Held:
    def __init__(self, inner):
        self.inner = inner


def caught_at_the_bottom():
    for _ in range(50):
        try:
            in_sort_key(1)
        except RecursionError:
            pass


def chained_errors():
    error = None
    for _ in range(DEEP):
        following = ValueError()
        following.__cause__ = error
        error = following


def waiting_generator(inner):
    def generator():
        yield inner

    made = generator()
    next(made)
    return made


def nested_elements(levels):
    root = element = ElementTree.Element('a')
    for _ in range(levels):
        element = ElementTree.SubElement(element, 'a')
    return root
