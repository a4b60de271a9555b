"""FastAPI: validation, dependencies, plain and async endpoints, a websocket."""
from fastapi import BackgroundTasks, Depends, FastAPI, Header, WebSocket
from pydantic import BaseModel

application = FastAPI()


class Item(BaseModel):
    name: str
    price: float = 1.5


def settings(x_some_header: str = Header('none')):
    return {'header': x_some_header}


@application.get('/')
async def hello():
    return {'hello': 'world'}


@application.get('/plain/{number}')
def plain(number: int, settings: dict = Depends(settings)):
    return {'number': number, **settings}


@application.post('/items')
async def make(item: Item, tasks: BackgroundTasks):
    tasks.add_task(lambda: None)
    return item


@application.websocket('/ws')
async def websocket(websocket: WebSocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text('you said ' + text)
