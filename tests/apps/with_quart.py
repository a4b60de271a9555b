"""Quart: responses, streams, forms and a websocket."""
from quart import Quart, jsonify, request, websocket

application = Quart(__name__)


@application.route('/')
async def hello():
    return 'hello'


@application.route('/show/<name>')
async def show(name):
    return jsonify(name=name, query=request.args.to_dict(), path=request.path, header=request.headers.get('X-Some-Header'))


@application.route('/echo', methods=['POST'])
async def echo():
    return await request.get_data()


@application.route('/form', methods=['POST'])
async def form():
    return (await request.form).to_dict()


@application.route('/stream')
async def stream():
    async def chunks():
        for number in range(5):
            yield b'chunk %d\n' % number

    return chunks(), {'Content-Type': 'text/plain'}


@application.websocket('/ws')
async def echo_websocket():
    while True:
        await websocket.send('you said ' + await websocket.receive())
