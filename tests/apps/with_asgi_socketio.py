"""python-socketio's AsyncServer."""
import socketio

server = socketio.AsyncServer(async_mode='asgi')
application = socketio.ASGIApp(server)


@server.event
async def say(sid, text):
    await server.emit('said', f'you said {text}', to=sid)
    return 'heard'
