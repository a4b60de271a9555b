"""docs/options.md and the stub against the plugin itself; tests/loop/test_stub.py has the rest of the stub."""
import ast
import json
import os
import re
import subprocess

import pytest

from conftest import ASAN, ROOT, asan_environment, command

PAGE = (ROOT / 'docs' / 'options.md').read_text()
OPTION = re.compile(r'^\s+--(greenlet|tornado[\w-]*)\s+(\S.*)$', re.M)


@pytest.mark.smoke
def test_page_has_every_option_with_its_help():
    environ = {**os.environ, **(asan_environment() if ASAN else {})}
    told = subprocess.run(command('--help'), capture_output=True, text=True, env=environ, timeout=60)
    in_page = re.findall(r'^\| `--([\w-]+)(?: ARG)?` \| (.*) \|$', PAGE, re.M)
    assert sorted(OPTION.findall(told.stdout)) == sorted(in_page)
    assert len(in_page) > 10


def test_page_is_up_to_date():
    written = subprocess.check_output([ROOT / 'tools' / 'write-options'], text=True)
    assert written == PAGE, 'docs/options.md is not what the option table says: make docs'


def test_stub_has_the_fields_of_fibers(server):
    seen = json.loads(server('interrupted.py').get('/fibers')[2])
    stub = ast.parse((ROOT / 'typing' / 'uwsgi_tornado.pyi').read_text())
    fiber, = (node for node in stub.body if getattr(node, 'name', '') == '_Fiber')
    assert sorted(seen[0]) == sorted(field.target.id for field in fiber.body)
