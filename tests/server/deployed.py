"""The files of an example as they are installed: in a folder of their own, with other names for what a machine has once."""
from conftest import EMBEDDED, PLUGIN, PYTHON_PLUGIN, ROOT
from crowd import backlog

EXAMPLES = ROOT / 'examples'
UWSGI = '/usr/bin/uwsgi --plugin python3,tornado'  # As the examples name it, once the plugin is installed.


def deployed(name, folder, others):
    """Copies the configuration of examples/NAME into the folder. `others`: what stands there, and what is put for it."""
    changes = [('%d..', str(EXAMPLES)), ('%d', f'{EXAMPLES / name}/'), ('listen = 1024', f'listen = {backlog(1024)}'),
               *others.items()]
    used = set()
    for file in sorted((EXAMPLES / name).rglob('*')):
        if file.suffix in ('.py', '.md') or not file.is_file():
            continue
        text = file.read_text()
        for old, new in changes:
            if old in text:
                used.add(old)
                text = text.replace(old, str(new))
        target = folder / file.relative_to(EXAMPLES / name)
        target.parent.mkdir(exist_ok=True)
        target.write_text(text)
    assert set(others) <= used, 'the example no longer says so'
    return folder


def tested_uwsgi():
    """Instead of UWSGI: with the plugins of these tests, or the program that has them inside."""
    return EMBEDDED or f'/usr/bin/uwsgi --plugin {PYTHON_PLUGIN} --plugin {PLUGIN}'

