"""Runs the command it is given where no memory can be made executable but by mapping a file:
mprotect() to executable, and memory both writable and executable, end the process."""
import mmap
import os
import sys

import seccomp

BOTH = mmap.PROT_WRITE | mmap.PROT_EXEC

rules = seccomp.SyscallFilter(defaction=seccomp.ALLOW)
for call in 'mprotect', 'pkey_mprotect':
    rules.add_rule(seccomp.KILL_PROCESS, call, seccomp.Arg(2, seccomp.MASKED_EQ, mmap.PROT_EXEC, mmap.PROT_EXEC))
rules.add_rule(seccomp.KILL_PROCESS, 'mmap', seccomp.Arg(2, seccomp.MASKED_EQ, BOTH, BOTH))
rules.load()
os.execvp(sys.argv[1], sys.argv[1:])
