"""The stack of a coroutine that waits."""
import traceback


def stack_of(coroutine):
    """The frames of the coroutine and of everything that it awaits, outermost first, as text."""
    frames = []
    while coroutine is not None:
        for prefix in ('cr', 'gi', 'ag'):
            frame = getattr(coroutine, prefix + '_frame', None)
            if frame is not None:
                frames.append((frame, frame.f_lineno))
                coroutine = getattr(coroutine, prefix + ('_yieldfrom' if prefix == 'gi' else '_await'), None)
                break
        else:
            break
    return ''.join(traceback.StackSummary.extract(frames).format())
