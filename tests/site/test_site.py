"""The documentation as a site: complete, nothing from elsewhere, and readable on a phone."""
import functools
import http.server
import pathlib
import re
import threading
import urllib.parse

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

ROOT = pathlib.Path(__file__).resolve().parents[2]
SITE = ROOT / 'build' / 'site' / 'html'
PAGES = sorted(SITE.rglob('*.html'))
WIDTHS = {'desktop': (1280, 900), 'phone': (390, 844)}


def name_of(path):
    return str(path.relative_to(SITE))


@functools.lru_cache(maxsize=None)
def identities(path):
    return set(re.findall(r'\bid="([^"]+)"', path.read_text()))


def broken(page, link):
    parts = urllib.parse.urlsplit(link)
    if parts.scheme or link.startswith('//'):
        return False
    target = (page.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else page
    if target.is_dir():
        target = target / 'index.html'
    return not target.exists() or (parts.fragment and urllib.parse.unquote(parts.fragment) not in identities(target))


def test_every_page_is_there():
    written = {path for pattern in ('docs/**/*.md', 'examples/**/README.md', 'bench/*.md') for path in ROOT.glob(pattern)}
    assert len(PAGES) >= len(written)
    assert 'index.html' in map(name_of, PAGES)


@pytest.mark.parametrize('page', [page for page in PAGES if page.name != '404.html'], ids=name_of)
def test_links_resolve(page):
    links = re.findall(r'<(?:a|img|link|script)\b[^>]*?\b(?:href|src)="([^"]+)"', page.read_text())
    assert links
    assert [link for link in links if broken(page, link)] == []


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_nothing_comes_from_elsewhere(page):
    loaded = re.findall(r'<(?:img|script|iframe)\b[^>]*?\bsrc="([^"]+)"', page.read_text())
    loaded += re.findall(r'<link\b[^>]*?rel="(?:stylesheet|preconnect|preload|icon)"[^>]*?href="([^"]+)"', page.read_text())
    assert [link for link in loaded if urllib.parse.urlsplit(link).netloc] == []


@pytest.fixture(scope='module')
def address():
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Handler, directory=str(SITE))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


@pytest.fixture(scope='module')
def browser():
    options = webdriver.ChromeOptions()
    for option in ('--headless=new', '--no-sandbox', '--disable-dev-shm-usage'):
        options.add_argument(option)
    with webdriver.Chrome(options=options) as chrome:
        yield chrome


@pytest.mark.parametrize('device', WIDTHS)
def test_no_page_is_wider_than_the_window(browser, address, device):
    width, height = WIDTHS[device]
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride',
                            {'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': device == 'phone'})
    too_wide = {}
    for page in PAGES:
        browser.get(f'{address}/{name_of(page)}')
        needed = browser.execute_script('return document.scrollingElement.scrollWidth')
        if needed > width:
            too_wide[name_of(page)] = needed
    assert too_wide == {}


@pytest.mark.parametrize('words, page', [('quantum', 'fairness.html'), ('client disconnected', 'deadlines.html')])
def test_search_finds(browser, address, words, page):
    browser.get(f'{address}/index.html?q={urllib.parse.quote(words)}')
    found = WebDriverWait(browser, 30).until(
        lambda chrome: [link.get_attribute('href') for link in chrome.find_elements(By.CSS_SELECTOR, '.md-search-result__link')])
    assert any(page in link for link in found), found


def test_broken_links_are_seen():
    """The check itself."""
    page = SITE / 'index.html'
    assert broken(page, 'nowhere.html') and broken(page, '#nowhere') and broken(page, 'docs/api.html#nowhere')
    assert not broken(page, 'docs/reliability.html#stacks')
