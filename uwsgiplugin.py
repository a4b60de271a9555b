# Build manifest, read by uwsgi --build-plugin and by UWSGI_EMBED_PLUGINS.
#
# The headers must be those of the Python that uWSGI embeds. Which that is, in this order:
# the PYTHON environment variable; the interpreter that runs this file when it is Debian's or
# uWSGI is being built along (both then use the same); /usr/bin/python3.
import os
import subprocess
import sys

NAME = 'tornado'



def _find_here():
    """This folder: uWSGI's builder runs the file with neither __file__ nor, in 2.0, its name."""
    frame = sys._getframe()
    while frame:
        for folder in (os.path.dirname(frame.f_code.co_filename), frame.f_locals.get('path')):
            if isinstance(folder, str) and os.path.exists(os.path.join(folder, 'suspend', 'fiber.cc')):
                return os.path.abspath(folder)
        frame = frame.f_back
    raise SystemExit('uwsgiplugin.py: the folder it lies in cannot be told')


_here = _find_here()
_embedding = 'UWSGI_EMBED_PLUGINS' in os.environ or os.path.exists('core/uwsgi.c')


def _python():
    if os.environ.get('PYTHON'):
        return os.environ['PYTHON']
    if _embedding or not os.path.exists('/usr/bin/python3'):
        return sys.executable
    return '/usr/bin/python3'


def _ask(expression):
    code = 'import sysconfig as s; print(' + expression + ')'
    return subprocess.check_output([_python(), '-c', code]).decode().strip()



def _version():
    """The newest entry of the changelog."""
    with open(os.path.join(_here, 'CHANGELOG.md')) as changelog:
        return next(line.split()[1] for line in changelog if line.startswith('## '))


CFLAGS = [
    '-std=gnu++17', '-fvisibility=hidden', '-ftls-model=initial-exec', '-fno-strict-aliasing',
    '-Wall', '-Wextra', '-Werror', '-Wno-missing-field-initializers',
    '-DUWSGI_TORNADO_VERSION=\\"' + _version() + '\\"',
    '-I' + _here,
    '-I' + _ask("s.get_path('include')"),
    '-I' + _ask("s.get_path('platinclude')"),
]
# uwsgi_python.h: in the source tree of an embedded build, else where UWSGI_SRC or Debian puts it.
CFLAGS.append('-I' + os.environ.get('UWSGI_SRC', '.' if _embedding else '/usr/src/uwsgi'))
CFLAGS += os.environ.get('UWSGI_TORNADO_CFLAGS', '').split()

LDFLAGS = os.environ.get('UWSGI_TORNADO_LDFLAGS', '').split()

LIBS = ['-lstdc++', '-lboost_context', '-lev', '-lpthread', '-ldl']
if not _embedding and _ask("s.get_config_var('Py_ENABLE_SHARED')") == '1':
    # Lets the plugin load, and say what is wrong, where the python plugin is missing.
    LIBS += ['-L' + _ask("s.get_config_var('LIBDIR')"), '-lpython' + _ask("s.get_config_var('LDVERSION')")]

GCC_LIST = [
    'suspend/stack.cc',
    'suspend/fiber.cc',
    'plugin/loop/ready_queue.cc',
    'plugin/loop/io_loop.cc',
    'plugin/blocking/real.cc',
    'plugin/blocking/gate.cc',
    'plugin/blocking/got.cc',
    'plugin/blocking/wait.cc',
    'plugin/blocking/patience.cc',
    'plugin/blocking/offload.cc',
    'plugin/blocking/poll_calls.cc',
    'plugin/blocking/transfer_calls.cc',
    'plugin/blocking/connection_calls.cc',
    'plugin/blocking/io_calls.cc',
    'plugin/blocking/sleep_calls.cc',
    'plugin/blocking/lock_calls.cc',
    'plugin/blocking/mutex_calls.cc',
    'plugin/blocking/name_calls.cc',
    'plugin/blocking/process_calls.cc',
    'plugin/blocking/file_calls.cc',
    'plugin/blocking/loader_calls.cc',
    'plugin/blocking/identity.cc',
    'plugin/blocking/policy.cc',
    'plugin/python/foreign_greenlets.cc',
    'plugin/python/thread_state.cc',
    'plugin/python/virtual_thread.cc',
    'plugin/python/preemption.cc',
    'plugin/python/application.cc',
    'plugin/python/module.cc',
    'plugin/python/signal_pipe.cc',
    'plugin/uwsgi/options.cc',
    'plugin/uwsgi/python_bridge.cc',
    'plugin/uwsgi/request_thread.cc',
    'plugin/uwsgi/core.cc',
    'plugin/uwsgi/signals.cc',
    'plugin/uwsgi/hooks.cc',
    'plugin/uwsgi/engine.cc',
    'plugin/uwsgi/worker.cc',
    'plugin/plugin.cc',
]
