"""What the guides say and no other test has; their programs are run by test_commands.py."""
import re
import subprocess

import pytest

from conftest import EMBEDDED, ROOT

PAGE = (ROOT / 'docs' / 'migrating.md').read_text()


def test_gevent_without_its_patches_works_and_holds_the_loop(server):
    running = server('with_gevent.py', '--tornado-block-warn', '50')
    assert [running.get(path)[2] for path in ('/spawn', '/timeout', '/sleep')] == [b'1 2 4', b'not ended', b'slept']
    running.wait_for_log(r'tornado: GET /sleep on core \d+ has held the loop for')


@pytest.mark.parametrize('method', ['fork', 'forkserver'])
def test_processes_of_a_pool_inherit_no_connection(server, method):
    """docs/performance.md."""
    results, _ = server('with_process_pool.py', '--master', environ={'START_METHOD': method}).get_all(['/'] * 20)
    assert [result[2] for result in results] == [b'499500'] * 20


GUNICORN = PAGE[PAGE.index('## From uvicorn, or gunicorn'):PAGE.index('## What to look at')]


def unknown_options(page, known, least):
    """Of the first cells of tables."""
    named = set(re.findall(r'^\| `?.*?\|', page, re.M))
    options = {option for cell in named for option in re.findall(r'--([a-z][a-z-]+)', cell)} - {'tornado-stack-size'}
    assert len(options) > least
    return [option for option in sorted(options) if not re.search(rf'^\s+.*--{option}\b', known, re.M)]


@pytest.mark.skipif(bool(EMBEDDED), reason='about plugins')
def test_options_of_other_engines_are_those_that_they_have():
    plugins = 'python3,gevent_python3,asyncio_python3,tornado_python3,greenlet_python3'
    known = subprocess.check_output(['uwsgi', '--plugin', plugins, '--help'], text=True)
    assert unknown_options(PAGE.replace(GUNICORN, ''), known, 10) == []


def test_options_of_gunicorn_are_those_that_it_has():
    assert unknown_options(GUNICORN, subprocess.check_output(['gunicorn', '--help'], text=True), 5) == []
