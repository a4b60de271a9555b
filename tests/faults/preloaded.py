"""faults.c, compiled, and what it did."""
import os
import shlex
import pathlib
import struct
import subprocess

from seeds import SEED

SOURCE = pathlib.Path(__file__).with_name('faults.c')
KINDS = ['EAGAIN', 'EINTR', 'short']


class Faults:
    def __init__(self, folder, percent=0):
        self.library, self.counts_file = folder / 'faults.so', folder / 'faults.counts'
        subprocess.run([*shlex.split(os.environ.get('CC', 'gcc')), '-O2', '-shared', '-fPIC', str(SOURCE), '-o', str(self.library)], check=True)
        self.counts_file.write_bytes(bytes(8 * (len(KINDS) + 1)))
        # A server's own environment, not the tests'.
        self.launcher = ['env', f'LD_PRELOAD={self.library}', f'FAULTS_SEED={hash_of(SEED)}', f'FAULTS_PERCENT={percent}',
                         f'FAULTS_COUNTS={self.counts_file}']

    def counts(self):
        return dict(zip(KINDS, struct.unpack_from(f'{len(KINDS)}Q', self.counts_file.read_bytes())))

    def set_clock(self, seconds):
        """Its wall clock is that much off."""
        with open(self.counts_file, 'r+b') as file:
            file.seek(8 * len(KINDS))
            file.write(struct.pack('q', seconds))


def hash_of(seed):
    return sum(ord(letter) << 7 * place for place, letter in enumerate(seed)) % 2**63
