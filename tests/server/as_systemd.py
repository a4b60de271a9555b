"""Runs the command it is given as systemd would: with the listening socket (its number is the first argument) as descriptor 3,
and, where a group of system calls is named (the second argument, or ''), no others allowed."""
import errno
import os
import subprocess
import sys


def calls_in(group):
    """As SystemCallFilter= takes them: the groups in it too."""
    environ = {name: value for name, value in os.environ.items() if name != 'NOTIFY_SOCKET'}  # Newer ones notify it, each.
    for line in subprocess.check_output(['systemd-analyze', 'syscall-filter', '--no-pager', group], text=True, env=environ).splitlines()[1:]:
        name = line.strip()
        if name.startswith('@'):
            yield from calls_in(name)
        elif name and not name.startswith('#'):
            yield name


def allow_only(group):
    import seccomp
    rules = seccomp.SyscallFilter(defaction=seccomp.ERRNO(errno.EPERM))
    for name in set(calls_in(group)):
        try:
            rules.add_rule(seccomp.ALLOW, name)
        except RuntimeError:
            pass  # A call that this machine does not have.
    rules.load()


if __name__ == '__main__':
    descriptor, group, *command = sys.argv[1:]
    os.dup2(int(descriptor), 3)
    if descriptor != '3':
        os.close(int(descriptor))
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')
    if group:
        allow_only(group)
    os.execvp(command[0], command)
