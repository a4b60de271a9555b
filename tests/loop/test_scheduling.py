"""call_soon: order, turns, arguments, contexts, errors."""
import asyncio
import contextvars
import inspect
import logging
import sys

import pytest

variable = contextvars.ContextVar('variable', default='unset')


def run_until_idle(loop):
    """Runs what is scheduled now, and what that schedules."""
    for _ in range(10):
        loop.call_soon(loop.stop)
        loop.run_forever()


def test_callbacks_run_in_the_order_they_were_added(loop):
    seen = []
    for number in range(1000):
        loop.call_soon(seen.append, number)
    run_until_idle(loop)
    assert seen == list(range(1000))


def test_callbacks_added_by_a_callback_wait_for_the_next_turn(loop):
    seen = []

    def first():
        seen.append('first')
        loop.call_soon(seen.append, 'added by first')
    loop.call_soon(first)
    loop.call_soon(seen.append, 'second')
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ['first', 'second']
    run_until_idle(loop)
    assert seen == ['first', 'second', 'added by first']


def test_stop_before_a_run_makes_it_one_turn(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.stop()
    loop.run_forever()
    assert seen == [1]


def test_a_cancelled_callback_is_not_called(loop):
    seen = []
    handle = loop.call_soon(seen.append, 1)
    assert not handle.cancelled()
    handle.cancel()
    handle.cancel()
    run_until_idle(loop)
    assert handle.cancelled() and seen == []


def test_a_callback_may_cancel_itself_while_it_runs(loop, errors):
    handle = loop.call_soon(lambda *args: handle.cancel(), 1, 2, 3, 4, 5)
    run_until_idle(loop)
    assert handle.cancelled() and errors == []


def test_a_callback_may_cancel_the_next_of_its_turn(loop):
    seen = []
    loop.call_soon(lambda: second.cancel())
    second = loop.call_soon(seen.append, 2)
    run_until_idle(loop)
    assert seen == []


@pytest.mark.parametrize('count', range(7))
def test_any_number_of_arguments_arrives(loop, count):
    seen = []
    handle = loop.call_soon(lambda *args: seen.append(args), *range(count))
    assert handle._args == tuple(range(count))
    run_until_idle(loop)
    assert seen == [tuple(range(count))]


def test_a_callback_sees_the_context_it_was_scheduled_in(loop):
    seen = []
    token = variable.set('then')
    loop.call_soon(lambda: seen.append(variable.get()))
    variable.reset(token)
    run_until_idle(loop)
    assert seen == ['then']


def test_what_a_callback_sets_stays_in_its_context(loop):
    loop.call_soon(variable.set, 'in the callback')
    run_until_idle(loop)
    assert variable.get() == 'unset'


def test_a_context_can_be_given(loop):
    context = contextvars.Context()
    context.run(variable.set, 'given')
    seen = []
    schedule = [loop.call_soon, loop.call_soon_threadsafe,
                lambda *args, **more: loop.call_later(0, *args, **more), lambda *args, **more: loop.call_at(0, *args, **more)]
    for call in schedule:
        call(lambda: seen.append(variable.get()), context=context)
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert seen == ['given'] * 4
    loop.call_soon(variable.set, 'set in it', context=context)
    run_until_idle(loop)
    assert context[variable] == 'set in it'


@pytest.fixture
def logged():
    """(message, error) of each line of asyncio's. pytest's caplog would keep the frames."""
    class Handler(logging.Handler):
        def emit(self, record):
            lines.append((record.getMessage(), str(record.exc_info[1])))
    lines, handler, logger = [], Handler(), logging.getLogger('asyncio')
    logger.addHandler(handler)
    logger.propagate = False
    yield lines
    logger.propagate = True
    logger.removeHandler(handler)


def test_a_context_that_is_entered_already_is_an_error_of_the_callback(loop, errors, logged):
    context = contextvars.copy_context()
    loop.call_soon(print, context=context)
    context.run(run_until_idle, loop)
    if sys.version_info < (3, 12):
        assert 'cannot enter context' in str(errors[0]['exception'])
    else:  # The exception handler is called in that context, too.
        [(message, error)] = logged
        assert not errors and message.startswith('Unhandled error in exception handler') and 'cannot enter context' in error


def test_an_error_goes_to_the_exception_handler_and_the_rest_goes_on(loop, errors):
    seen = []
    handle = loop.call_soon(lambda: 1 / 0)
    loop.call_soon(seen.append, 'after')
    run_until_idle(loop)
    assert seen == ['after']
    [context] = errors
    assert isinstance(context['exception'], ZeroDivisionError) and context['exception'].__traceback__
    assert context['handle'] is handle
    assert 'Exception in callback test_an_error_goes' in context['message']


def test_the_exception_handler_can_log_the_error_as_the_present_one(loop):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(sys.exc_info()[1]))
    loop.call_soon(lambda: 1 / 0)
    run_until_idle(loop)
    assert isinstance(seen[0], ZeroDivisionError) and sys.exc_info() == (None, None, None)


def test_a_callback_that_cannot_be_called_is_an_error_of_its_turn(loop, errors):
    loop.call_soon('no function')
    run_until_idle(loop)
    assert isinstance(errors[0]['exception'], TypeError)


@pytest.mark.parametrize('ending', [SystemExit, KeyboardInterrupt])
def test_system_exit_and_keyboard_interrupt_leave_the_run(loop, ending, errors):
    seen = []

    def end():
        raise ending()
    loop.call_soon(end)
    loop.call_soon(seen.append, 'after')
    with pytest.raises(ending):
        loop.run_forever()
    assert not loop.is_running() and asyncio._get_running_loop() is None and errors == []
    assert seen == []
    run_until_idle(loop)
    assert seen == ['after']


@pytest.mark.parametrize('call, error', [
    (lambda loop: loop.call_soon(), TypeError),
    (lambda loop: loop.call_later(1), TypeError),
    (lambda loop: loop.call_later(None, print), TypeError),
    (lambda loop: loop.call_later('1', print), TypeError),
    (lambda loop: loop.call_at(None, print), TypeError),
    (lambda loop: loop.call_soon(print, wrong=1), TypeError),
])
def test_wrong_arguments_are_refused(loop, call, error):
    with pytest.raises(error):
        call(loop)


def test_arguments_may_be_given_by_name(loop):
    seen = []
    loop.call_soon(callback=lambda: seen.append('soon'))
    loop.call_later(delay=0, callback=lambda: seen.append('later'))
    loop.call_at(when=0, callback=lambda: seen.append('at'))
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert sorted(seen) == ['at', 'later', 'soon']


def test_handles_are_those_of_asyncio(loop):
    soon, later = loop.call_soon(print, 1), loop.call_later(10, print, 2)
    assert isinstance(soon, asyncio.Handle) and not isinstance(soon, asyncio.TimerHandle)
    assert isinstance(later, asyncio.TimerHandle)
    # Newer Pythons show arguments in debug mode only.
    hidden = 'debug' in inspect.signature(asyncio.format_helpers._format_callback_source).parameters
    for handle, text in (soon, '<Handle print({})>'), (later, f'<TimerHandle when={later.when()} print({{}})>'):
        assert repr(handle) == text.format('' if hidden else handle._args[0])
    soon.cancel()
    later.cancel()
    assert repr(soon) == '<Handle cancelled>'
    assert repr(later) == f'<TimerHandle cancelled when={later.when()}>'


def test_debug_mode_says_where_a_handle_was_made(loop, errors):
    loop.set_debug(True)
    handle = loop.call_soon(lambda: 1 / 0)
    assert handle._source_traceback[-1].filename == __file__
    assert 'created at ' + __file__ in repr(handle)
    run_until_idle(loop)
    assert errors[0]['source_traceback'] is handle._source_traceback


def test_debug_mode_refuses_coroutines_and_what_cannot_be_called(loop):
    async def coroutine():
        pass
    loop.set_debug(True)
    for call in (loop.call_soon, loop.call_soon_threadsafe, lambda callback: loop.call_later(0, callback)):
        with pytest.raises(TypeError, match='coroutines cannot be used'):
            call(coroutine)
        with pytest.raises(TypeError, match='a callable object was expected'):
            call('text')


def test_debug_mode_names_slow_callbacks(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0
    loop.call_soon(len, 'slow')
    run_until_idle(loop)
    assert any('Executing <Handle len(' in message and 'seconds' in message for message in caplog.messages)
