#!/usr/bin/python3
"""Form: C++ is formatted by clang-format, functions have at most 60 lines and files at most 500. A longer one says
why on its first line, or the line above it: `// Long: REASON`. Prints what breaks a rule and exits with 1."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
FUNCTION_LINES = 60
FILE_LINES = 500
CLANG_FORMAT = '14'  # Each release formats in its own way: Debian 12's decides.

BLOCK = re.compile(r'^( *)([^ /#}].*)\{$')
LAMBDA = re.compile(r'\[[\w&=, ]*\]\(.*\{$')  # The last argument of a call outside any function.
NO_FUNCTION = re.compile(r'(namespace|class|struct|union|enum|extern|if|else|for|while|switch|do|try|catch)\b')
LONG = re.compile(r'//.*\bLong: \w')


def sources(*suffixes):
    listed = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard'] + [f'*.{suffix}' for suffix in suffixes],
                            cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [name for name in listed if (ROOT / name).exists()]


def statement_before(lines, number):
    """The first line of the statement whose block opens on line `number`."""
    indent = len(lines[number]) - len(lines[number].lstrip())
    while number > 0:
        before = lines[number - 1]
        if not before.strip() or before.rstrip()[-1] in ';{}:' or before.lstrip().startswith(('//', '#')):
            break
        number -= 1
        indent = min(indent, len(before) - len(before.lstrip()))
    return number, indent


def functions(lines):
    """(first line, name, length) of each function, methods in classes too; what is inside one belongs to it."""
    number = 0
    while number < len(lines):
        opened = BLOCK.match(lines[number])
        if opened:
            first, indent = statement_before(lines, number)
            text = ' '.join(line.strip() for line in lines[first:number + 1])
            if '(' in text and not NO_FUNCTION.match(text) and not LAMBDA.search(text) and '= {' not in text:
                end = next((at for at in range(number + 1, len(lines)) if lines[at].startswith(' ' * indent + '}')),
                           number)
                yield first, text.split('(')[0].split()[-1], end - first + 1
                number = end
        number += 1


def too_long(name):
    lines = (ROOT / name).read_text().splitlines()
    if len(lines) > FILE_LINES and not LONG.search(lines[0]):
        yield f'{name}: {len(lines)} lines, at most {FILE_LINES}'
    for first, function, length in functions(lines):
        if length > FUNCTION_LINES and not any(LONG.search(line) for line in lines[max(first - 1, 0):first + 1]):
            yield f'{name}:{first + 1}: {function} has {length} lines, at most {FUNCTION_LINES}'


def unformatted():
    try:
        version = subprocess.run(['clang-format', '--version'], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        version = 'none'
    if f'version {CLANG_FORMAT}.' not in version:
        print(f'formatting is not checked: that takes clang-format {CLANG_FORMAT}, found: {version.strip()}')
        return
    checked = subprocess.run(['clang-format', '--dry-run', *sources('cc', 'h', 'c')], cwd=ROOT, capture_output=True,
                             text=True, check=True)
    for name in sorted(set(re.findall(r'^(.*?):\d+:\d+: warning', checked.stderr, re.M))):
        yield f'{name}: not formatted; run `make format`'


def main():
    broken = [line for name in sources('cc', 'h') for line in too_long(name)] + list(unformatted())
    print('\n'.join(broken) or 'style: formatted, no function and no file is too long')
    return 1 if broken else 0


if __name__ == '__main__':
    sys.exit(main())
