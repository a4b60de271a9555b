"""The tests of the greenlet package, as Debian ships them, on our module inside a request."""
import importlib.metadata
import json

import pytest

# What differs, and why.
A_SCRIPT = 'runs a script by sys.executable, which is uwsgi'
BREAKS_THE_SWITCH = "by a type of the package's own for it"
KNOWN_DIFFERENCES = {
    'greenlet.TestBrokenGreenlets.test_failed_to_initialstub': BREAKS_THE_SWITCH,
    'greenlet.TestBrokenGreenlets.test_failed_to_slp_switch_into_running': A_SCRIPT,
    'greenlet.TestBrokenGreenlets.test_failed_to_switch_into_running': BREAKS_THE_SWITCH,
    'greenlet.TestBrokenGreenlets.test_reentrant_switch_GreenletAlreadyStartedInPython': A_SCRIPT,
    'greenlet.TestBrokenGreenlets.test_reentrant_switch_run_callable_has_del': A_SCRIPT,
    'greenlet.TestBrokenGreenlets.test_reentrant_switch_three_greenlets': A_SCRIPT,
    'greenlet.TestBrokenGreenlets.test_reentrant_switch_three_greenlets2': A_SCRIPT,
    'greenlet.TestBrokenGreenlets.test_reentrant_switch_two_greenlets': A_SCRIPT,
    'greenlet.TestGreenlet.test_get_stack_with_nested_c_calls': 'by the C interface, which the module does not have',
    'greenlet.TestGreenlet.test_throw_to_dead_thread_doesnt_crash':
        'looks at the frame of a greenlet whose thread has ended: here its greenlets have ended with it',
    'greenlet.TestGreenletSetParentErrors.test_main_greenlet_parent_is_none':
        "the parent of a request's main greenlet is the loop's",
    'leaks.TestLeaks.test_issue251_issue252_explicit_reference_not_collectable': 'expects a leak; there is none here',
    'leaks.TestLeaks.test_issue251_issue252_need_to_collect_in_background': 'expects a leak; there is none here',
    'leaks.TestLeaks.test_issue251_issue252_need_to_collect_in_background_cleanup_disabled':
        'expects a leak; there is none here',
    'stack_saved.Test.test_stack_saved': 'stacks are not copied',
}
if tuple(map(int, importlib.metadata.version('greenlet').split('.')[:2])) >= (3, 3):
    KNOWN_DIFFERENCES['greenlet.TestGreenletSetParentErrors.test_unexpected_reparenting_thread_running'] = (
        'the sentence of the error is that of earlier versions: it does not name both greenlets')
# cpp, extension_interface: the C interface, which the module does not have.
# version: looks for the package's setup.py.
SUITES = ('contextvars', 'gc', 'generator', 'generator_nested', 'greenlet', 'greenlet_trash', 'leaks', 'stack_saved',
          'throw', 'tracing', 'weakref')
# Measure the memory of 20000 greenlets again and again: seconds each. One of them also expects
# that the end of a thread leaves its greenlets without their finally blocks.
SLOW = ('leaks.TestLeaks.test_untracked_memory',)


@pytest.fixture
def running(server):
    return server('greenlet_oracle.py', '--greenlet')


@pytest.mark.parametrize('suite', SUITES)
def test_package_finds_what_it_expects(running, suite):
    prefix = 'greenlet.tests.test_'
    names = [name.removeprefix(prefix) for name in json.loads(running.get('/')[2])]
    names = [name for name in names if name.startswith(suite + '.') and not name.startswith(SLOW)]
    assert names
    answers = {name: running.get('/?' + prefix + name)[2].decode() for name in names}
    wrong = {name: answer for name, answer in answers.items()
             if not answer.startswith(('ok', 'skipped')) and name not in KNOWN_DIFFERENCES}
    assert not wrong, '\n'.join(f'{name}: {answer}' for name, answer in wrong.items())
    as_expected = [name for name in names if name in KNOWN_DIFFERENCES and answers[name] == 'ok']
    assert not as_expected, 'no longer different: ' + ', '.join(as_expected)
