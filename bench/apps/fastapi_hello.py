"""FastAPI's hello, by a function that may block."""
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

application = FastAPI()


@application.get('/hello', response_class=PlainTextResponse)
def hello():
    return 'hello'
