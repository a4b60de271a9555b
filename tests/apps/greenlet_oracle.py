"""The tests of the greenlet package, on the module that --greenlet gives, inside a request."""
import importlib.util
import io
import json
import pathlib
import sys
import unittest

import greenlet

TESTS = pathlib.Path('/usr/lib/python3/dist-packages/greenlet/tests')
SUITES = ('contextvars', 'gc', 'generator', 'generator_nested', 'greenlet', 'greenlet_trash', 'leaks', 'stack_saved',
          'throw', 'tracing', 'weakref')


def load(name, path, **options):
    spec = importlib.util.spec_from_file_location(name, path, **options)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_all():
    if 'greenlet.tests' not in sys.modules:
        greenlet.tests = load('greenlet.tests', TESTS / '__init__.py', submodule_search_locations=[str(TESTS)])
    return {name: importlib.import_module(f'greenlet.tests.test_{name}') for name in SUITES}


def each(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from each(item)
        else:
            yield item


def names():
    loader = unittest.TestLoader()
    return json.dumps([test.id() for module in load_all().values()
                       for test in each(loader.loadTestsFromModule(module))])


def run(name):
    """'ok', 'skipped ...', or what failed."""
    modules = load_all()
    suite, _, rest = name.removeprefix('greenlet.tests.test_').partition('.')
    result = unittest.TextTestRunner(stream=io.StringIO()).run(
        unittest.TestLoader().loadTestsFromName(rest, modules[suite]))
    problems = [text for _, text in result.errors + result.failures]
    if result.skipped:
        return 'skipped: ' + result.skipped[0][1]
    return '\n'.join(problems) or 'ok'


def application(environ, start_response):
    name = environ['QUERY_STRING']
    body = (run(name) if name else names()).encode()
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
