"""What builds and runs an image here: podman or docker, otherwise the same steps in a chroot.

The base image is the tree of Debian that tools/platform makes, because a test downloads from no registry.
CONTAINER_ENGINE (podman, docker, chroot) chooses one.
"""
import json
import os
import pathlib
import re
import secrets
import shlex
import shutil
import signal
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
TREE = ROOT / 'build/platforms/bookworm'
FOLDER = ROOT / 'build/container'
BASE = 'docker.io/library/debian:bookworm-slim'
IMAGE = 'uwsgi-tornado-example'
DOCKERFILE = 'examples/container/Dockerfile'
# What tools/platform adds to the tree, and what debian:*-slim leaves out.
NOT_IN_BASE = ('./build/*', './checkout/*', './.complete', './proc/*', './sys/*', './dev/*', './run/*', './var/cache/*', './var/lib/apt/lists/*',
               './usr/share/doc/*', './usr/share/man/*', './usr/share/locale/*')


def run(*command, **more):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **more)
    assert done.returncode == 0, f'{shlex.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}'
    return done.stdout


class Container:
    """A running one: its output, apart, and what is done to it from the outside."""

    def __init__(self, folder, command, stop, execute, status):
        self.execute, self.status, self.stop_command = execute, status, stop
        self.stdout, self.stderr = folder / 'stdout', folder / 'stderr'
        with open(self.stdout, 'wb') as out, open(self.stderr, 'wb') as errors:
            self.process = subprocess.Popen([*map(str, command)], stdout=out, stderr=errors, stdin=subprocess.DEVNULL)

    def kill(self):
        if self.process.poll() is None:
            self.stop_command(signal.SIGKILL)
            self.process.wait(60)


class Docker:
    """podman or docker: both take the same commands."""

    def __init__(self, name):
        self.name = name
        self.command = [name]
        if name == 'podman':  # Images of its own, so that the user's stay as they are.
            self.command += ['--root', FOLDER / 'podman', '--runroot', FOLDER / 'run', '--cgroup-manager', 'cgroupfs']

    def quiet(self, *words):
        return subprocess.run([*map(str, self.command), *words], capture_output=True).returncode == 0

    def works(self):
        if not shutil.which(self.name) or not self.quiet('info'):
            return False
        if self.name == 'podman':
            self.quiet('rm', '--all', '--force')
        self.import_base()
        return self.quiet(*self.run_options(), BASE, 'true')

    def import_base(self):
        if not run(*self.command, 'images', '--quiet', BASE):
            excluded = [f'--exclude={name}' for name in NOT_IN_BASE]
            packed = subprocess.Popen(['tar', '-C', TREE, *excluded, '-c', '.'], stdout=subprocess.PIPE)
            run(*self.command, 'import', '-', BASE, stdin=packed.stdout)
            assert packed.wait() == 0

    def run_options(self):
        """Without control groups and higher limits, for which a virtual machine may not give the rights."""
        options = ['run', '--rm', '--network=host']
        # Its timer of health checks is systemd's, which need not run; the tests call the check themselves.
        return options + ['--no-healthcheck', '--cgroups=disabled', '--ulimit=nofile=1024:1024', '--ulimit=nproc=4096:4096'] if self.name == 'podman' else options

    def build(self):
        options = ['--isolation=chroot', '--format=docker', '--pull=never'] if self.name == 'podman' else []
        run(*self.command, 'build', '--network=host', *options, '--tag', IMAGE, '--file', DOCKERFILE, '.', cwd=ROOT)

    def start(self, folder, environment, read_only=True):
        name = f'uwsgi-tornado-{secrets.token_hex(4)}'  # A run that was killed may have left its containers.
        hardened = ['--cap-drop=ALL', '--security-opt=no-new-privileges', '--tmpfs=/tmp', *(['--read-only'] if read_only else [])]
        values = [word for key, value in environment.items() for word in ('--env', f'{key}={value}')]

        def execute(*command):
            return subprocess.run([*map(str, self.command), 'exec', name, *command], capture_output=True, text=True)

        return Container(folder, [*self.command, *self.run_options(), '--name', name, *hardened, *values, IMAGE],
                         lambda number: run(*self.command, 'kill', '--signal', signal.Signals(number).name, name), execute,
                         lambda: execute('cat', '/proc/1/status').stdout)

    def health_check(self):
        config = json.loads(run(*self.command, 'image', 'inspect', IMAGE))[0]
        return (config.get('HealthCheck') or config.get('Healthcheck') or config['Config']['Healthcheck'])['Test'][1:]

    def added_bytes(self):
        """What the image has beyond its base."""
        sizes = [json.loads(run(*self.command, 'image', 'inspect', image))[0]['Size'] for image in (IMAGE, BASE)]
        return sizes[0] - sizes[1]


def instructions(dockerfile):
    """(word, rest) of each line, continued ones as one."""
    text = re.sub(r'^\s*#.*\n', '', dockerfile.read_text(), flags=re.MULTILINE).replace('\\\n', ' ')
    return [line.split(None, 1) for line in text.splitlines() if line.strip()]


class Chroot:
    """Performs a Dockerfile's steps in copies of the base tree."""

    name = 'chroot'

    def __init__(self):
        self.folder = FOLDER / 'chroot'
        self.stages, self.tree = {}, None
        self.environment, self.work, self.user = {}, '/', '0:0'
        self.entry, self.check = None, None

    def works(self):
        return os.geteuid() == 0

    def inside(self, *command, prefix=(), environment=None):
        """The command line that runs `command` in the tree, in namespaces that end with it."""
        script = ('mount --bind "$0" "$0"; cd "$0"; mount -t proc proc proc; mount --rbind /dev dev; mount -t tmpfs tmpfs tmp; '
                  'if [ -n "$READ_ONLY" ]; then mount -o remount,ro,bind "$0"; else cp -L /etc/resolv.conf etc/resolv.conf; fi; '
                  'exec chroot . /usr/bin/env -i "$@"')
        values = [f'{key}={value}' for key, value in
                  {'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', **self.environment, **(environment or {})}.items()]
        in_folder = ['sh', '-c', 'cd "$0" && exec "$@"', self.work, *command]
        return ['unshare', '--mount', '--pid', '--fork', '--kill-child', '--propagation', 'private', 'sh', '-ec', script, str(self.tree),
                *values, *prefix, *in_folder]

    def build(self):
        for word, rest in instructions(ROOT / DOCKERFILE):
            getattr(self, 'do_' + word.lower())(rest)

    def do_from(self, rest):
        name = rest.split(' AS ')[1] if ' AS ' in rest else 'image'
        self.tree = self.stages[name] = self.folder / name
        self.environment, self.work, self.user = {}, '/', '0:0'
        self.done = self.folder / f'{name}.done'
        if not self.done.exists():
            shutil.rmtree(self.tree, ignore_errors=True)
            self.tree.mkdir(parents=True)
            excluded = shlex.join(f'--exclude={name}' for name in NOT_IN_BASE)
            run('sh', '-c', f'tar -C {TREE} {excluded} -c . | tar -C {self.tree} -x')
            self.done.touch()

    def do_workdir(self, rest):
        self.work = rest
        (self.tree / rest.lstrip('/')).mkdir(parents=True, exist_ok=True)

    def do_copy(self, rest):
        words = rest.split()
        source = self.stages[words.pop(0).removeprefix('--from=')] if words[0].startswith('--from=') else ROOT
        *names, target = words
        place = self.tree / (target if target.startswith('/') else f'{self.work}/{target}').lstrip('/')
        if target.endswith('/'):
            place.mkdir(parents=True, exist_ok=True)
        for name in names:
            path = source / name.lstrip('/')
            if path.is_dir():
                shutil.copytree(path, place, dirs_exist_ok=True)
            else:
                shutil.copy2(path, place)

    def do_run(self, rest):
        """What installs packages or adds a user is done once; the tree is kept."""
        once = 'apt-get' in rest or 'useradd' in rest
        if once and rest in self.done.read_text().splitlines():
            return
        run(*self.inside('sh', '-c', re.sub(r'--mount=\S+', '', rest)))
        if once:
            with open(self.done, 'a') as done:
                done.write(rest + '\n')

    def do_env(self, rest):
        self.environment.update(pair.split('=', 1) for pair in shlex.split(rest))

    def do_user(self, rest):
        self.user = rest

    def do_healthcheck(self, rest):
        self.check = json.loads(rest.partition('CMD')[2])

    def do_entrypoint(self, rest):
        self.entry = json.loads(rest)

    def do_expose(self, rest):
        """Nothing to do: the network is the machine's."""

    do_stopsignal = do_expose

    def start(self, folder, environment, read_only=True):
        user, group = self.user.split(':')
        dropped = ['setpriv', '--reuid', user, '--regid', group, '--clear-groups', '--bounding-set=-all', '--no-new-privs']
        command = self.inside(*self.entry, prefix=dropped, environment=environment)
        container = Container(folder, ['env', f'READ_ONLY={"yes" if read_only else ""}', *command], None, None, None)
        for output in (container.stdout, container.stderr):  # As container engines give their pipes to the user.
            os.chown(output, int(user), int(group))
            output.parent.chmod(0o755)

        def first():
            """Process 1 of the namespace, once it is there: a child of unshare."""
            return int(pathlib.Path(f'/proc/{container.process.pid}/task/{container.process.pid}/children').read_text().split()[0])

        container.stop_command = lambda number: os.kill(first(), number)
        container.status = lambda: pathlib.Path(f'/proc/{first()}/status').read_text()
        # Nothing of the caller's environment and folder: a relative PYTHONPATH has no meaning inside.
        container.execute = lambda *words: subprocess.run(
            ['nsenter', '--target', str(first()), '--mount', '--pid', f'--root=/proc/{first()}/root', *dropped,
             'env', '-i', '-C', '/', 'PATH=/usr/local/bin:/usr/bin:/bin', f'PORT={environment["PORT"]}', *words],
            capture_output=True, text=True)
        return container

    def health_check(self):
        return self.check

    def added_bytes(self):
        sizes = [int(run('du', '-sxb', tree).split()[0]) for tree in (self.tree, self.base_tree())]
        return sizes[0] - sizes[1]

    def base_tree(self):
        """Unpacked apart, to be weighed."""
        weighed = Chroot()
        weighed.do_from('base AS base')
        return weighed.tree


def engine():
    """The first that works here."""
    wanted = os.environ.get('CONTAINER_ENGINE')
    for candidate in (Docker('podman'), Docker('docker'), Chroot()):
        if wanted in (None, '', candidate.name) and candidate.works():
            return candidate
    raise RuntimeError('no way to run a container here')
