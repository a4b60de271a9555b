def application(e, sr):
    sr('200 OK', [('Content-Type','text/html')])
    yield b"one"
    yield b"two"
    yield b"three"
