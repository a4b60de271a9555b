"""What libraries import from libc, compared with the table of redirected calls (plugin/blocking/replacements.cc)."""
import importlib.machinery
import importlib.util
import pathlib
import re
import subprocess
import sysconfig

import pytest

from conftest import ROOT

# The cancellation points of pthreads(7), except those for files at an offset, which never wait; and what has come
# to glibc and Linux since, or is a spelling of the same.
CAN_WAIT = frozenset('''
    accept accept4 aio_suspend clock_nanosleep close connect creat creat64 fcntl fcntl64 fdatasync fsync getmsg getpmsg
    lockf lockf64 mq_receive mq_send mq_timedreceive mq_timedsend msgrcv msgsnd msync nanosleep open open64 openat openat64
    __open_2 __open64_2 __openat_2 __openat64_2 pause poll ppoll __poll_chk __ppoll_chk pselect
    pthread_cond_clockwait pthread_cond_timedwait pthread_cond_wait pthread_join pthread_timedjoin_np pthread_clockjoin_np
    putmsg putpmsg read __read_chk readv recv recvfrom recvmsg recvmmsg __recv_chk __recvfrom_chk select
    sem_clockwait sem_timedwait sem_wait send sendmsg sendmmsg sendto sigpause sigsuspend sigtimedwait sigwait sigwaitinfo
    sleep system tcdrain usleep wait wait3 wait4 waitid waitpid write writev
    epoll_wait epoll_pwait epoll_pwait2 flock sendfile sendfile64 splice tee vmsplice io_getevents semop semtimedop
    preadv2 preadv64v2 pwritev2 pwritev64v2 sync syncfs close_range closefrom dup2 dup3
    pthread_barrier_wait pthread_mutex_clocklock pthread_mutex_lock pthread_mutex_timedlock pthread_once pthread_spin_lock
    pthread_rwlock_rdlock pthread_rwlock_wrlock pthread_rwlock_timedrdlock pthread_rwlock_timedwrlock
    pthread_rwlock_clockrdlock pthread_rwlock_clockwrlock
    call_once cnd_timedwait cnd_wait mtx_lock mtx_timedlock thrd_join thrd_sleep
    getaddrinfo getnameinfo gethostbyaddr gethostbyaddr_r gethostbyname gethostbyname2 gethostbyname2_r gethostbyname_r
    res_query res_search res_nquery res_nsearch
    fopen fopen64 freopen freopen64 fread fgets fgetc getc getline getdelim flockfile pclose dlopen syscall'''.split())


def _load_tool():
    loader = importlib.machinery.SourceFileLoader('write_blocking', str(ROOT / 'tools' / 'write-blocking'))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader('write_blocking', loader))
    loader.exec_module(module)
    return module


TOOL = _load_tool()


def known(where):
    """Names that are redirected there, or left to libc for a reason."""
    rows = [(name, scope) for _, name, scope in TOOL.replacements()] + [(name, scope) for name, scope, _ in TOOL.left_alone()]
    return {name for name, scope in rows if where in scope.split(', ')}


def imports_that_wait(paths):
    """{path: names} of what each imports, as far as it can wait."""
    told = subprocess.run(['nm', '-D', '-A', '--undefined-only', *paths], stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.DEVNULL).stdout  # It fails where one of them has no symbols.
    found = {}
    for path, name in re.findall(r'^(.*?): +[Uw] ([^@\s]+)', told, re.M):
        found.setdefault(path, set()).add(name)
    return {path: names & CAN_WAIT for path, names in found.items()}


def libpython():
    path = pathlib.Path(sysconfig.get_config_var('LIBDIR'), sysconfig.get_config_var('INSTSONAME'))
    if path.suffix == '.a':
        pytest.skip('this Python has no shared library')
    return path


def listed_libraries():
    """Those of this machine, and the extension modules of Python and of its packages."""
    choice = (ROOT / 'plugin' / 'blocking' / 'object_choice.cc').read_text()
    names = re.findall(r'"([\w.+-]+)"', re.search(r'kKnownSafe\[\].*?\};', choice, re.S)[0])
    assert 'libpq' in names
    for path in re.findall(r'=> (\S+)$', subprocess.check_output(['/sbin/ldconfig', '-p'], text=True), re.M):
        if re.fullmatch(r'(%s)[.-].*' % '|'.join(map(re.escape, names)), pathlib.Path(path).name):
            yield path
    for folder in sysconfig.get_path('platstdlib'), '/usr/lib/python3/dist-packages':
        yield from pathlib.Path(folder).rglob('*.cpython-*.so')


def test_libpython_imports_nothing_that_waits_and_is_unknown():
    names, = imports_that_wait([libpython()]).values()
    assert 'poll' in names
    assert names - known('libpython') == set()


def test_listed_libraries_import_nothing_that_waits_and_is_unknown():
    found = imports_that_wait(listed_libraries())
    assert len(found) > 20
    assert {path: names - known('libraries') for path, names in found.items() if names - known('libraries')} == {}


@pytest.mark.parametrize('where', ['libpython', 'libraries'])
def test_everything_that_waits_is_known(where):
    assert CAN_WAIT - known(where) == set()


def test_the_page_is_up_to_date():
    written = subprocess.check_output([ROOT / 'tools' / 'write-blocking'], text=True)
    assert written == (ROOT / 'docs' / 'blocking.md').read_text(), 'docs/blocking.md is not what the table says: make docs'
