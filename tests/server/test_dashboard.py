"""examples/dashboard: who may see the page, what it tells, and what a browser makes of it."""
import base64
import contextlib
import http.client
import itertools
import json

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from clients import exchange
from conftest import ROOT
from health import read_until
from test_browser import browser
from wire_requests import uwsgi_request

INI = str(ROOT / 'examples' / 'dashboard' / 'uwsgi.ini')
TOKEN = 'Zg7-open'
SLOW, SLOWER = '/wait?600', '/wait?601'


def basic(password):
    return {'Authorization': 'Basic ' + base64.b64encode(f'any:{password}'.encode()).decode()}


@pytest.fixture
def start(server):
    return lambda **more: server(None, '--master', '--ini', INI, **more)


def status_of(running, path, headers):
    """And the headers; the body, which may be an endless stream, is not read."""
    connection = http.client.HTTPConnection('127.0.0.1', running.port, timeout=30)
    with contextlib.closing(connection):
        connection.request('GET', path, headers=headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders())


@contextlib.contextmanager
def asked(running, path):
    with running.connect() as client:
        client.sendall(f'GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n'.encode())
        yield client


@contextlib.contextmanager
def events(running):
    with asked(running, '/_tornado/events') as stream:
        read_until(stream, b'retry: 1000\n\n')

        def following():
            while True:
                yield json.loads(read_until(stream, b'\n\n').partition(b'data: ')[2])

        yield following()


@pytest.mark.smoke
def test_clients_of_this_machine_see_it_and_no_token_is_needed(start):
    running = start()
    status, headers, page = running.get('/_tornado/')
    assert status == 200 and b'<title>Worker</title>' in page
    assert headers['Cache-Control'] == 'no-store' and "default-src 'none'" in headers['Content-Security-Policy']
    assert running.get('/_tornado')[:2][0] == 302 and running.get('/_tornado')[1]['Location'] == '/_tornado/'
    assert running.get('/_tornado/more')[0] == 404
    assert running.get('/')[2] == b'see /_tornado/\n'


@pytest.mark.parametrize('path', ['/_tornado/', '/_tornado/events'])
@pytest.mark.parametrize('header', [
    {'X-Forwarded-For': '127.0.0.1'}, {'X-Real-IP': '127.0.0.1'}, {'Forwarded': 'for=127.0.0.1'}, {'Via': '1.1 proxy'},
    {'Host': 'rebound.example'}, {'Host': 'rebound.example:9090'}], ids=str)
def test_clients_of_a_proxy_and_pages_of_other_sites_do_not(start, path, header):
    assert status_of(start(), path, header)[0] == 403


@pytest.mark.parametrize('address, status', [('127.0.0.1', b'200'), ('::1', b'200'), ('192.0.2.7', b'403'), ('', b'403'), ('10.0.0.1', b'403')])
def test_clients_elsewhere_do_not(start, address, status):
    running = start(protocol='uwsgi-socket')
    request = uwsgi_request('/_tornado/', REMOTE_ADDR=address)
    assert exchange(running.port, request).split()[1] == status


@pytest.mark.parametrize('path', ['/_tornado/', '/_tornado/events'])
def test_where_there_is_a_token_only_those_who_give_it_do(start, path):
    running = start(environ={'TORNADO_DASHBOARD_TOKEN': TOKEN})
    for headers in ({}, basic(''), basic('wrong'), basic(TOKEN + 'x'), {'Authorization': 'Basic !'}, {'Authorization': f'Bearer {TOKEN}'}):
        status, answered = status_of(running, path, headers)
        assert (status, answered['WWW-Authenticate'][:6]) == (401, 'Basic ')
    assert running.get('/_tornado/', headers={**basic(TOKEN), 'X-Forwarded-For': '192.0.2.7', 'Host': 'app.example'})[0] == 200
    assert running.get('/')[0] == 200  # The application's own pages are as open as before.


def test_it_tells_what_the_worker_does_and_did(start):
    running = start()
    with asked(running, SLOW), asked(running, '/lock?600'), asked(running, '/lock?1'), events(running) as one:
        seen = first(one, lambda view: view['samples'] and view['samples'][-1]['waits'] == {'sleep': 2, 'lock': 1})
        assert (seen['worker'], seen['workers'], seen['cores']) == (1, 1, 200)
        assert {request['uri'] for request in seen['slowest']} == {SLOW, '/lock?600', '/lock?1'}  # Not the page's own.
        last = seen['samples'][-1]
        assert last['cores'] == 3 and last['lag_ms'] >= 0 and last['oldest_s'] > 0
        with events(running) as other:  # Who comes later sees what was before.
            before = next(other)['samples']
            assert last in before and len(before) >= 1
            assert [sample['at'] for sample in before] == sorted(sample['at'] for sample in before)
        following = next(one)
        assert all(sample['at'] > last['at'] for sample in following['samples'])
        running.kill()


def first(views, happens):
    """The first of them in which it does; fails if it is none of the next half minute's."""
    for view in itertools.islice(views, 30):
        if happens(view):
            return view
    raise AssertionError(f'not seen; the last was {view}')


def text_of(driver, name):
    return driver.find_element(By.ID, name).text


def colours(driver):
    return driver.execute_script('const s = getComputedStyle(document.body); return [s.backgroundColor, s.color];')


def test_browser_draws_it_live(start, tmp_path):
    running = start()
    with browser(tmp_path / 'profile') as driver, asked(running, SLOWER):
        wait = WebDriverWait(driver, 30, poll_frequency=0.05)
        driver.get(f'http://127.0.0.1:{running.port}/_tornado/')
        wait.until(lambda _: text_of(driver, 'state') == 'live' and text_of(driver, 'requests') == '1')
        with asked(running, SLOW + '&<b>'):  # Shown as it is, not as markup.
            wait.until(lambda _: text_of(driver, 'requests') == '2')
            rows = [row.text for row in driver.find_elements(By.CSS_SELECTOR, '#slowest tr')]
            assert [f'GET {SLOWER} sleep' in rows[0], f'GET {SLOW}&<b> sleep' in rows[1]] == [True, True], rows
        for drawn in ('cores_drawn', 'lag_drawn', 'oldest_drawn'):
            line = driver.find_element(By.CSS_SELECTOR, f'#{drawn} polyline').get_attribute('points')
            assert len(line.split()) >= 2, (drawn, line)
        assert 'sleep' in text_of(driver, 'waits') and text_of(driver, 'cores') == '200'
        running.kill()
        wait.until(lambda _: text_of(driver, 'state') == 'lost, trying again')


@pytest.mark.parametrize('theme', ['light', 'dark'])
@pytest.mark.parametrize('width', [390, 1280])
def test_it_is_readable_in_both_themes_and_widths(start, tmp_path, theme, width):
    running = start()
    with browser(tmp_path / 'profile') as driver, asked(running, SLOW + '&' + 'long' * 60):
        driver.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': [{'name': 'prefers-color-scheme', 'value': theme}]})
        driver.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', {'width': width, 'height': 800, 'deviceScaleFactor': 1, 'mobile': width < 600})
        driver.get(f'http://127.0.0.1:{running.port}/_tornado/')
        WebDriverWait(driver, 30, poll_frequency=0.05).until(lambda _: text_of(driver, 'state') == 'live' and text_of(driver, 'cores') == '200')
        assert driver.execute_script('return document.documentElement.scrollWidth') <= width
        back, text = (sum(map(int, colour[4:-1].split(','))) for colour in colours(driver))
        assert (back > text) == (theme == 'light') and abs(back - text) > 300
        driver.save_screenshot(str(tmp_path / f'{theme}-{width}.png'))
    running.kill()


def test_the_page_asks_nothing_of_anybody_else(start):
    page = start().get('/_tornado/')[2].decode()
    assert 'http' not in page.replace('http://www.w3.org/2000/svg', '')
