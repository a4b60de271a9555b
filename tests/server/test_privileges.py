"""A worker with few privileges serves as any other, and never has memory both writable and executable."""
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import pytest

from conftest import APPS, ASAN

NOBODY = 65534
NAP_S = 0.2
AT_ONCE = 20

HERE = pathlib.Path(__file__).parent
PT_GNU_RELRO = 0x6474e552
PAGE = os.sysconf('SC_PAGESIZE')

needs_root = pytest.mark.skipif(os.getuid() != 0, reason='only root gives privileges up')


def can(*command):
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


# --- What is asked of each worker -----------------------------------------------------------------

def assert_serves(running):
    results, seconds = running.get_all(['/nap'] * AT_ONCE)
    assert [result[2] for result in results] == [b'rested'] * AT_ONCE, running.log
    assert seconds < AT_ONCE * NAP_S / 2
    assert running.get('/load_and_use')[2] == b'used', running.log
    assert running.get('/endless')[0] == 500
    assert running.get('/nap')[2] == b'rested'
    for pid in running.worker_pids():
        assert_no_page_is_writable_and_executable(pid)


def mappings(pid):
    """(begin, end, permissions, offset, path) of each."""
    for line in pathlib.Path(f'/proc/{pid}/maps').read_text().splitlines():
        span, permissions, offset, _, _, *path = line.split(maxsplit=5)
        begin, end = (int(address, 16) for address in span.split('-'))
        yield begin, end, permissions, int(offset, 16), path[0] if path else ''


def assert_no_page_is_writable_and_executable(pid):
    assert [found for found in mappings(pid) if 'w' in found[2] and 'x' in found[2]] == []


def relro_of(path):
    """Where the object's sealed part lies, from its lowest address: whole pages."""
    with open(path, 'rb') as file:
        header = file.read(64)
        table, = struct.unpack_from('<Q', header, 32)
        size, count = struct.unpack_from('<HH', header, 54)
        file.seek(table)
        for _ in range(count):
            entry = file.read(size)
            kind, _, _, address, _, _, length = struct.unpack_from('<IIQQQQQ', entry)
            if kind == PT_GNU_RELRO:
                return address // PAGE * PAGE, (address + length) // PAGE * PAGE
    return 0, 0


def unsealed(pid):
    """Mappings with pages that the loader sealed and that are writable, and the number of objects seen."""
    everything = list(mappings(pid))
    bases = {path: begin for begin, _, _, offset, path in reversed(everything) if path.startswith('/') and offset == 0}
    found, objects = [], 0
    for path, base in bases.items():
        if '.so' not in path or not os.path.exists(path):
            continue
        first, last = relro_of(path)
        objects += first != last
        found += [mapping for mapping in everything
                  if mapping[0] < base + last and mapping[1] > base + first and 'w' in mapping[2]]
    return found, objects


# --- The tests ------------------------------------------------------------------------------------

@pytest.fixture
def public():
    """A folder that everybody may read, with the app in it; pytest's own are root's."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        shutil.copy(APPS / 'confined.py', folder)
        yield pathlib.Path(folder)


def app_in(folder):
    return ['--pythonpath', str(folder), '--wsgi-file', f'{folder}/confined.py']


def test_a_plain_worker_has_no_page_writable_and_executable(server):
    assert_serves(server('confined.py'))


@needs_root
@pytest.mark.smoke
@pytest.mark.parametrize('master', [[], ['--master']], ids=['alone', 'with a master'])
def test_worker_of_another_user(server, public, master):
    running = server(None, *app_in(public), '--uid', str(NOBODY), '--gid', str(NOBODY), *master)
    assert running.get('/ids')[2].decode() == f'{NOBODY} {NOBODY}'
    assert_serves(running)


@needs_root
@pytest.mark.skipif(ASAN, reason='the sanitizer reads /proc')
@pytest.mark.skipif(not can('unshare', '--mount', 'true'), reason='no mount namespaces here')
@pytest.mark.parametrize('lazy', [[], ['--lazy-apps']], ids=['before the fork', 'after it'])
def test_worker_in_a_root_of_its_own(server, public, lazy):
    """In it the system's programs and libraries, the app, and no /proc."""
    for folder in 'usr', 'etc', 'dev', 'app':
        (public / folder).mkdir()
    for folder in 'bin', 'lib', 'lib64':
        (public / folder).symlink_to(f'usr/{folder}')
    (public / 'confined.py').rename(public / 'app' / 'confined.py')
    mounts = ''.join(f'mount --rbind /{folder} {public}/{folder} && ' for folder in ('usr', 'etc', 'dev'))
    running = server(None, *app_in('/app'), '--chroot', str(public), '--chdir', '/',
                     '--uid', str(NOBODY), '--gid', str(NOBODY), *lazy,
                     launcher=['unshare', '--mount', 'sh', '-c', mounts + 'exec "$@"', 'sh'])
    assert running.get('/top')[2] == b'app bin dev etc lib lib64 usr'
    assert_serves(running)


@pytest.mark.skipif(not can('setpriv', '--no-new-privs', 'true'), reason='setpriv cannot')
def test_worker_without_new_privileges(server):
    running = server('confined.py', launcher=['setpriv', '--no-new-privs'])
    assert 'NoNewPrivs:\t1' in pathlib.Path(f'/proc/{running.process.pid}/status').read_text()
    assert_serves(running)


@pytest.mark.smoke
@pytest.mark.skipif(ASAN, reason='the sanitizer has memory of its own to protect')
@pytest.mark.skipif(not can(sys.executable, str(HERE / 'without_new_code.py'), 'true'), reason='no seccomp filter can be set here')
def test_worker_that_may_make_no_memory_executable(server, nap_library):
    filtered = [sys.executable, str(HERE / 'without_new_code.py')]
    assert not can(*filtered, sys.executable, '-c', 'import mmap; mmap.mmap(-1, 4096, prot=7)')
    running = server('confined.py', '--tornado-suspend-lib', 'libnap', launcher=filtered)
    assert_serves(running)
    assert_naps_suspend(running, nap_library)


@pytest.fixture
def nap_library(tmp_path):
    library = str(tmp_path / 'libnap.so')
    subprocess.run(['cc', '-shared', '-fPIC', '-Wl,-z,relro,-z,now', '-o', library, str(APPS / 'nap.c')], check=True)
    dynamic = subprocess.check_output(['readelf', '-dW', library], text=True)
    assert 'BIND_NOW' in dynamic or 'NOW' in dynamic
    return library


def assert_naps_suspend(running, library):
    results, seconds = running.get_all([f'/nap_in_c?{library}'] * AT_ONCE)
    assert [result[2] for result in results] == [b'rested'] * AT_ONCE, running.log
    assert seconds < AT_ONCE * NAP_S / 2


@pytest.mark.smoke
def test_calls_of_a_sealed_library_are_redirected_and_it_is_sealed_again(server, nap_library):
    running = server('confined.py', '--tornado-suspend-lib', 'libnap')
    assert_naps_suspend(running, nap_library)
    pid = running.process.pid
    assert any(path == nap_library for *_, path in mappings(pid))
    assert running.get('/load_and_use')[2] == b'used'
    found, objects = unsealed(pid)
    assert found == []
    assert objects > 10
