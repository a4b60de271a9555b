"""Classes derived from OSError in each way, as applications make them."""


class Plain(OSError):
    pass


class WithInit(OSError):
    def __init__(self, *, real_error=None):
        super().__init__('closed')
        self.real_error = real_error


class WithNew(Plain):
    def __new__(cls, word, number):
        self = super().__new__(cls, number, word)
        self.word = word
        return self


class OfConnection(ConnectionError):
    def __new__(cls, *args, **kwargs):
        return super().__new__(cls, *args)


def application(environ, start_response):
    import errno
    Plain(1, 'x')
    made = [
        type(OSError(errno.ENOENT, 'no such')).__name__,
        str(OSError(errno.ENOENT, 'no such', 'file')),
        type(OSError(errno.ECANCELED, 'cancelled')).__name__,
        repr(OSError()),
        repr(WithInit(real_error=7).real_error),
        WithNew('word', 5).word + str(WithNew('word', 5).errno),
        repr(OfConnection(3, 'three')),
        str(Plain(2, 'two')),
    ]
    try:
        OSError(keyword=1)
    except TypeError as error:
        made.append(str(error))
    try:
        open('/nowhere/to/be/found')
    except FileNotFoundError as error:
        made.append(str(error))
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return ['\n'.join(made).encode()]
