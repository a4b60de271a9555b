"""A chat on Flask-SocketIO, which is told nothing of the engine."""
import threading
import time

import flask
import flask_socketio

application = flask.Flask(__name__)
socketio = flask_socketio.SocketIO(application, async_mode='gevent_uwsgi', cors_allowed_origins='*')
print('mode', socketio.async_mode, 'module', flask_socketio.socketio.Server().eio._async['websocket'].__module__)
held = threading.Event()


@socketio.on('join')
def join(room):
    flask_socketio.join_room(room)
    return threading.current_thread().name


@socketio.on('say')
def say(message):
    flask_socketio.emit('said', message, to=message['room'])


@socketio.on('wait')
def wait():
    held.wait()
    return 'waited'


@application.route('/release')
def release():
    held.set()
    return 'released'


@application.route('/quick')
def quick():
    return 'quick'


@application.route('/countdown')
def countdown():
    def task():
        for number in (3, 2, 1):
            socketio.sleep(0.01)
            socketio.emit('count', number)

    socketio.start_background_task(task)
    return 'started'
