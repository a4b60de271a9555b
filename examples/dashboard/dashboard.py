"""A live page about the worker that answers, to mount beside any application:

    mount = /_tornado=/path/to/dashboard.py
    manage-script-name = true

It shows every request's URI and client. So it answers only clients of this machine, unless the environment has
TORNADO_DASHBOARD_TOKEN: then it answers those who give the token as the password of HTTP's basic authentication, and no others.
"""
import base64
import collections
import hmac
import ipaddress
import json
import os
import secrets
import time

import uwsgi
import uwsgi_tornado

KEPT_S = 600
SLOWEST = 10
LAG_STEPS = 4  # The lag is measured this many times a second.
TOKEN = os.environ.get('TORNADO_DASHBOARD_TOKEN', '')
# Headers that a proxy adds. Its own address says nothing about its client.
FORWARDED = ('HTTP_X_FORWARDED_FOR', 'HTTP_X_REAL_IP', 'HTTP_FORWARDED', 'HTTP_VIA')

# --- What is shown --------------------------------------------------------------------------------

samples = collections.deque(maxlen=KEPT_S)  # One a second, of this worker's process.
watching = set()  # Cores that send this page's events.

def requests():
    """The requests of the application, the oldest first."""
    found = [fiber for fiber in uwsgi_tornado.fibers() if fiber['core'] is not None and fiber['core'] not in watching]
    return sorted(found, key=lambda fiber: fiber['age'], reverse=True)


def what_it_does(fiber):
    return fiber['waits_for'] or fiber['state']


def sample(lag_s):
    found = requests()
    return {
        'at': time.time(),
        'cores': len(found),
        'lag_ms': round(lag_s * 1000, 2),
        'oldest_s': round(found[0]['age'], 2) if found else 0,
        'waits': collections.Counter(map(what_it_does, found)),
    }


def sampler():
    """The lag is how late this function resumes, as any request that sleeps would."""
    while True:
        lag = 0.0
        for _ in range(LAG_STEPS):
            began = time.monotonic()
            if uwsgi_tornado.stopping.wait(timeout=1 / LAG_STEPS):
                return
            lag = max(lag, time.monotonic() - began - 1 / LAG_STEPS)
        samples.append(sample(lag))


# In each worker, whose loop takes this over.
uwsgi_tornado.IOLoop.instance().add_callback(lambda: uwsgi_tornado.spawn(sampler))


def view(new):
    return {
        'worker': uwsgi.worker_id(),
        'workers': uwsgi.numproc,
        'cores': uwsgi.cores,
        'samples': new,
        'slowest': [{key: fiber[key] for key in ('core', 'method', 'uri', 'client', 'age', 'state', 'waits_for', 'peer', 'switches')}
                    for fiber in requests()[:SLOWEST]],
    }


def events(core):
    """Sends all samples, then each new one. Ends with the worker; the browser then connects to the next worker."""
    watching.add(core)
    try:
        yield b'retry: 1000\n\n'
        seen = 0
        while True:
            new = [one for one in samples if one['at'] > seen]
            seen = new[-1]['at'] if new else seen
            yield b'data: ' + json.dumps(view(new)).encode() + b'\n\n'
            if uwsgi_tornado.stopping.wait(timeout=1):
                return
    finally:
        watching.discard(core)


# --- Who may see it -------------------------------------------------------------------------------

def is_local(environ):
    address = environ.get('REMOTE_ADDR', '')
    host = environ.get('HTTP_HOST', 'localhost').rpartition(':')[0] or environ.get('HTTP_HOST', 'localhost')
    # The name of another site may point here. The browser then sends that name.
    named_locally = host in ('localhost', '127.0.0.1', '[::1]')
    try:
        return named_locally and ipaddress.ip_address(address).is_loopback and not any(name in environ for name in FORWARDED)
    except ValueError:
        return False


def knows_token(environ):
    kind, _, credentials = environ.get('HTTP_AUTHORIZATION', '').partition(' ')
    if kind.lower() != 'basic':
        return False
    try:
        _, _, password = base64.b64decode(credentials).partition(b':')
    except ValueError:
        return False
    return hmac.compare_digest(password, TOKEN.encode())


def application(environ, start_response):
    def answer(status, body, *headers):
        start_response(status, [('Content-Length', str(len(body))), ('Cache-Control', 'no-store'), *headers])
        return [body]

    if TOKEN and not knows_token(environ):
        return answer('401 Unauthorized', b'The password is the token.\n', ('WWW-Authenticate', 'Basic realm="uwsgi-tornado"'))
    if not TOKEN and not is_local(environ):
        return answer('403 Forbidden', b'Only for this machine. TORNADO_DASHBOARD_TOKEN opens it to others.\n')
    path = environ['PATH_INFO']
    if path == '':  # The page's own links are relative to the folder.
        return answer('302 Found', b'', ('Location', environ['SCRIPT_NAME'] + '/'))
    if path == '/events':
        start_response('200 OK', [('Content-Type', 'text/event-stream'), ('Cache-Control', 'no-store'), ('X-Accel-Buffering', 'no')])
        return events(environ['uwsgi.core'])
    if path == '/':
        nonce = secrets.token_urlsafe(16)
        policy = f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; frame-ancestors 'none'"
        return answer('200 OK', PAGE.replace('NONCE', nonce).encode(), ('Content-Type', 'text/html; charset=utf-8'),
                      ('Content-Security-Policy', policy))
    return answer('404 Not Found', b'no such page\n')


# --- The page -------------------------------------------------------------------------------------

PAGE = '''<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Worker</title>
<style nonce="NONCE">
  :root { color-scheme: light dark; --back: #f6f7f9; --card: #fff; --text: #1d2530; --dim: #5d6878; --edge: #d9dee5; --line: #2a6fbb; --fill: #2a6fbb22; --bad: #b3261e; }
  @media (prefers-color-scheme: dark) {
    :root { --back: #12161c; --card: #1b2129; --text: #e4e9f0; --dim: #98a3b3; --edge: #303947; --line: #6fb1ff; --fill: #6fb1ff22; --bad: #ff8a80; }
  }
  * { box-sizing: border-box; }
  body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 70em; padding: 1em; background: var(--back); color: var(--text); }
  header { display: flex; flex-wrap: wrap; gap: 0 1em; align-items: baseline; }
  h1 { font-size: 1.35em; margin: 0; }
  h2 { font-size: 1em; margin: 0; }
  .dim, th, caption { color: var(--dim); font-weight: normal; }
  .lost { color: var(--bad); }
  .cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(15em, 1fr)); gap: .8em; margin: 1em 0; }
  .card { background: var(--card); border: 1px solid var(--edge); border-radius: 8px; padding: .8em; min-width: 0; }
  .now { font-size: 1.6em; font-variant-numeric: tabular-nums; }
  svg { display: block; width: 100%; height: 56px; overflow: visible; }
  svg.small { height: 22px; }
  polyline { fill: none; stroke: var(--line); stroke-width: 1.5; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
  polygon { fill: var(--fill); }
  table { border-collapse: collapse; width: 100%; margin-top: .4em; }
  td, th { text-align: left; padding: .25em .6em .25em 0; border-top: 1px solid var(--edge); vertical-align: top; overflow-wrap: anywhere; }
  .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
  .axis { display: flex; justify-content: space-between; color: var(--dim); font-size: .8em; }
  .kind { width: 7em; } .count { width: 4em; }
  @media (max-width: 32em) { .wide { display: none; } }
</style>
<header><h1>Worker <span id="worker">?</span> <span class="dim">of <span id="workers">?</span></span></h1><span id="state">connecting</span></header>

<div class="cards">
  <section class="card"><h2>Requests</h2><div><span class="now" id="requests">?</span> <span class="dim">on <span id="cores">?</span> cores, at most <span id="most">?</span></span></div>
    <svg id="cores_drawn"></svg><div class="axis"><span>ten minutes ago</span><span>now</span></div></section>
  <section class="card"><h2>Lag of the loop</h2><div><span class="now"><span id="lag">?</span> ms</span> <span class="dim">at most <span id="most_lag">?</span></span></div>
    <svg id="lag_drawn"></svg><div class="axis"><span>ten minutes ago</span><span>now</span></div></section>
  <section class="card"><h2>Oldest request</h2><div><span class="now"><span id="oldest">?</span> s</span> <span class="dim">at most <span id="most_oldest">?</span></span></div>
    <svg id="oldest_drawn"></svg><div class="axis"><span>ten minutes ago</span><span>now</span></div></section>
</div>

<section class="card"><h2>What requests wait for</h2>
  <table><thead><tr><th class="kind">waits for</th><th class="number count">now</th><th>last ten minutes</th></tr></thead><tbody id="waits"></tbody></table></section>
<p></p>
<section class="card"><h2>Oldest requests</h2>
  <table><thead><tr><th>request</th><th>waits for</th><th class="wide">client</th><th class="number">age, s</th><th class="number wide">core</th><th class="number wide">switches</th></tr></thead>
  <tbody id="slowest"></tbody></table></section>

<script nonce="NONCE">
const KEPT_S = 600;
let samples = [], worker = null;
const at = id => document.getElementById(id);
const write = (id, text) => { at(id).textContent = text; };
const most = values => values.reduce((a, b) => Math.max(a, b), 0);
const shape = (name, points) => {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  made.setAttribute('points', points.map(p => p.map(n => n.toFixed(2)).join(',')).join(' '));
  return made;
};

// The right edge is now, the left edge ten minutes ago, the upper edge the highest value.
function draw(svg, values, top) {
  svg.setAttribute('viewBox', `0 0 ${KEPT_S} 100`);
  svg.setAttribute('preserveAspectRatio', 'none');
  const end = samples.length ? samples[samples.length - 1].at : 0;
  const points = values.map((value, i) => [KEPT_S - Math.min(KEPT_S, end - samples[i].at), 100 - 98 * value / Math.max(top, 1e-9)]);
  if (!points.length) return svg.replaceChildren();
  const area = [[points[0][0], 100], ...points, [KEPT_S, 100]];
  svg.replaceChildren(shape('polygon', area), shape('polyline', points));
}

function cell(text, kind) {
  const made = document.createElement('td');
  made.textContent = text;  // Never as markup: clients have sent it.
  if (kind) made.className = kind;
  return made;
}

function row(...cells) {
  const made = document.createElement('tr');
  made.append(...cells);
  return made;
}

function wait_row(kind, top) {
  const values = samples.map(one => one.waits[kind] || 0);
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('class', 'small');
  draw(svg, values, top);
  const drawn = cell('');
  drawn.append(svg);
  return row(cell(kind), cell(values[values.length - 1], 'number'), drawn);
}

function request_row(one) {
  const waits = one.waits_for ? one.waits_for + (one.peer ? ' of ' + one.peer : '') : one.state;
  return row(cell(`${one.method} ${one.uri}`), cell(waits), cell(one.client, 'wide'), cell(one.age.toFixed(1), 'number'),
             cell(one.core, 'number wide'), cell(one.switches, 'number wide'));
}

function show(view) {
  if (view.worker !== worker) samples = [];  // After a reconnect another worker may answer.
  worker = view.worker;
  const known = samples.length ? samples[samples.length - 1].at : 0;
  samples.push(...view.samples.filter(one => one.at > known));
  if (!samples.length) return;
  const last = samples[samples.length - 1];
  samples = samples.filter(one => one.at > last.at - KEPT_S);
  const [cores, lag, oldest] = ['cores', 'lag_ms', 'oldest_s'].map(name => samples.map(one => one[name]));
  write('worker', view.worker);
  write('workers', view.workers);
  write('cores', view.cores);
  write('requests', last.cores);
  write('most', most(cores));
  write('lag', last.lag_ms.toFixed(1));
  write('most_lag', most(lag).toFixed(1));
  write('oldest', last.oldest_s.toFixed(1));
  write('most_oldest', most(oldest).toFixed(1));
  draw(at('cores_drawn'), cores, most(cores));
  draw(at('lag_drawn'), lag, Math.max(10, most(lag)));
  draw(at('oldest_drawn'), oldest, most(oldest));
  const kinds = [...new Set(samples.flatMap(one => Object.keys(one.waits)))].sort();
  const top = most(samples.flatMap(one => Object.values(one.waits)));
  at('waits').replaceChildren(...kinds.map(kind => wait_row(kind, top)));
  at('slowest').replaceChildren(...view.slowest.map(request_row));
}

function state(text, lost) {
  write('state', text);
  at('state').className = lost ? 'lost' : 'dim';
}

const source = new EventSource('events');
source.onopen = () => state('live', false);
source.onerror = () => state('lost, trying again', true);
source.onmessage = event => show(JSON.parse(event.data));
</script>
</html>
'''
