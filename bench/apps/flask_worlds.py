"""worlds.py by Flask."""
import flask
import worlds

application = flask.Flask(__name__)
TEMPLATE = '''<!DOCTYPE html><html><head><title>Fortunes</title></head><body><table><tr><th>id</th><th>message</th></tr>
{% for number, message in rows %}<tr><td>{{ number }}</td><td>{{ message }}</td></tr>{% endfor %}</table></body></html>'''


@application.route('/json')
def json():
    return flask.jsonify(message='Hello, World!')


@application.route('/query')
def query():
    return flask.jsonify(worlds.queries(1)[0])


@application.route('/queries')
def queries():
    return flask.jsonify(worlds.queries(20))


@application.route('/fortunes')
def fortunes():
    return flask.render_template_string(TEMPLATE, rows=worlds.fortunes())


@application.route('/updates')
def updates():
    return flask.jsonify(worlds.updates(20))
