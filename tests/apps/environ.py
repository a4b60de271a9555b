"""Answers with what it finds in its environ, or with how many blocks of memory Python has."""
import gc
import json
import sys


def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'application/json')])
    if environ['PATH_INFO'] == '/blocks':
        gc.collect()
        return [str(sys.getallocatedblocks()).encode()]
    found = {name: value for name, value in environ.items() if isinstance(value, str)}
    return [json.dumps(found).encode()]
