"""A Flask application as in Flask's documentation, without any code for the engine."""
import os
import secrets
import time

import flask
import requests

SERVICES = os.environ.get('SERVICES', 'http://127.0.0.1:9090/sleep')

app = application = flask.Flask(__name__)
app.secret_key = os.environ.get('SECRET_KEY') or secrets.token_hex()  # A new one at each start ends all sessions.


@app.route('/')
def index():
    flask.session['visits'] = flask.session.get('visits', 0) + 1
    return flask.render_template('index.html', visits=flask.session['visits'])


@app.route('/sleep')
def sleep():
    time.sleep(1)  # Suspends this request only.
    return 'slept\n'


@app.route('/fetch')
def fetch():
    try:
        page = requests.get(SERVICES, timeout=5)  # So does this.
        page.raise_for_status()
    except requests.RequestException as error:
        app.logger.warning('%s', error)
        flask.abort(502)
    return flask.Response(page.content, mimetype='text/plain')
