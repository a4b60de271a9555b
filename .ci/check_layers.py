#!/usr/bin/python3
"""Layers only look down: a table of what each room may include, and a check that every
header compiles alone. Prints what breaks the rule and exits with 1."""
import pathlib
import re
import subprocess
import sys
import sysconfig
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]

LOW = {'plugin/blocking', 'plugin/loop', 'suspend'}
PYTHON = {'plugin/python', 'plugin/greenlet', 'plugin/asyncio', 'plugin/tornado', 'plugin/fetch'}
UWSGI = {'plugin/uwsgi', 'plugin/request', 'plugin/asgi', 'plugin/exchange', 'plugin/tornado_web', 'plugin/observe'}  # uwsgi_core.h is in the lowest.
PROJECT = {  # Room: the rooms it may include from.
    'suspend': {'suspend'},
    'plugin/loop': {'plugin/loop'},
    'plugin/blocking': {'plugin/blocking', 'plugin/loop', 'suspend'},
    'plugin/python': {'plugin/python'} | LOW,
    'plugin/greenlet': {'plugin/greenlet', 'plugin/python'} | LOW,
    'plugin/asyncio': {'plugin/asyncio', 'plugin/python'} | LOW,
    'plugin/tornado': {'plugin/tornado', 'plugin/asyncio', 'plugin/python'} | LOW,
    'plugin/http': {'plugin/http', 'plugin/loop'},
    'plugin/fetch': {'plugin/fetch', 'plugin/http', 'plugin/asyncio', 'plugin/python'} | LOW,
    'plugin/module': {'plugin/module'} | PYTHON | LOW,
    'plugin/uwsgi': {'plugin/uwsgi', 'plugin/python'} | LOW,
    'plugin/request': {'plugin/request', 'plugin/uwsgi', 'plugin/python'} | LOW,
    'plugin/asgi': {'plugin/asgi', 'plugin/exchange', 'plugin/request', 'plugin/uwsgi', 'plugin/asyncio', 'plugin/python'} | LOW,
    'plugin/exchange': {'plugin/exchange', 'plugin/request', 'plugin/uwsgi', 'plugin/python'} | LOW,
    'plugin/tornado_web': {'plugin/tornado_web', 'plugin/exchange', 'plugin/request', 'plugin/uwsgi', 'plugin/asyncio', 'plugin/python'} | LOW,
    'plugin/observe': {'plugin/observe', 'plugin/request', 'plugin/uwsgi', 'plugin/module', 'plugin/python'} | LOW,
    'plugin/engine': {'plugin/engine', 'plugin/module'} | UWSGI | PYTHON | LOW,
    'plugin': {'plugin/engine'} | UWSGI,
}
FOREIGN = {  # Header: the rooms, or the files, that may include it; the standard library and libc are everybody's.
    'Python.h': {'plugin/module', 'plugin/engine'} | UWSGI | PYTHON,
    'uwsgi.h': {'plugin/uwsgi'},
    'plugins/python/uwsgi_python.h': {'plugin/uwsgi'},
    'ev.h': {'plugin/loop/libev.h'},  # Whose functions are called by a table, never by their names.
    'boost/context/fiber.hpp': {'suspend'},
    'link.h': {'plugin/blocking', 'suspend'},
    'curl/curl.h': {'plugin/http/libcurl.h'},
}
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.M)


def room_of(path):
    return path.parent.as_posix()


def broken_includes():
    files = sorted(p.relative_to(ROOT) for top in ('suspend', 'plugin') for p in (ROOT / top).rglob('*')
                   if p.suffix in ('.cc', '.h'))
    assert files, 'no sources found'
    for path in files:
        room = room_of(path)
        for kind, name in INCLUDE.findall((ROOT / path).read_text()):
            if name in FOREIGN:
                if not {room, path.as_posix()} & FOREIGN[name]:
                    yield f'{path}: <{name}> belongs to {", ".join(sorted(FOREIGN[name]))}'
            elif kind == '"' and room_of(pathlib.PurePath(name)) not in PROJECT[room]:
                yield f'{path}: {room} must not include "{name}"'
        if room not in UWSGI | {'plugin/engine', 'plugin'} and re.search(r'\b(uwsgi|up)\.\w', strip_comments((ROOT / path).read_text())):
            yield f'{path}: uwsgi. and up. belong to plugin/uwsgi and what is above'


def strip_comments(text):
    return re.sub(r'//[^\n]*|"(?:\\.|[^"\n])*"', '', text)


def sources_left_out():
    listed = set(re.findall(r"'((?:suspend|plugin)/[\w/]+\.cc)'", (ROOT / 'uwsgiplugin.py').read_text()))
    for path in sorted(p.relative_to(ROOT).as_posix() for top in ('suspend', 'plugin') for p in (ROOT / top).rglob('*.cc')):
        if path not in listed:
            yield f'{path}: uwsgiplugin.py does not list it, so the plugin is built without it'


def headers_that_need_others(folder):
    with open(folder / 'uwsgi.h', 'w') as header:
        header.write(subprocess.check_output(['uwsgi', '--dot-h'], text=True))
    for path in sorted(p for top in ('suspend', 'plugin') for p in (ROOT / top).rglob('*.h')):
        result = subprocess.run(
            ['g++', '-std=gnu++17', '-fsyntax-only', '-w', '-x', 'c++', f'-I{ROOT}', f'-I{folder}',
             '-I' + sysconfig.get_path('include'), str(path)],
            capture_output=True, text=True)
        if result.returncode:
            yield f'{path.relative_to(ROOT)} does not compile alone:\n{result.stderr}'


def main():
    with tempfile.TemporaryDirectory() as folder:
        problems = [*broken_includes(), *sources_left_out(), *headers_that_need_others(pathlib.Path(folder))]
    print('\n'.join(problems) or 'layers: every include looks down, every header compiles alone')
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
