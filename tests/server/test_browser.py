"""A real browser talks to the chat and to the live page of examples/."""
import contextlib
import os

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from conftest import ROOT


@contextlib.contextmanager
def browser(folder):
    options = webdriver.ChromeOptions()
    for option in ('--headless=new', '--disable-gpu', '--disable-dev-shm-usage', f'--user-data-dir={folder}',
                   *(['--no-sandbox'] if os.geteuid() == 0 else [])):
        options.add_argument(option)
    driver = webdriver.Chrome(service=Service('/usr/bin/chromedriver'), options=options)
    try:
        yield driver
    finally:
        driver.quit()


def lines(driver):
    return [line.text for line in driver.find_elements(By.TAG_NAME, 'li')]


def test_browsers_chat_and_see_how_the_worker_closes(server, tmp_path):
    running = server(None, '--ini', str(ROOT / 'examples' / 'websocket_chat' / 'uwsgi.ini'))
    with browser(tmp_path / 'profile') as driver:
        wait = WebDriverWait(driver, 30, poll_frequency=0.05)
        driver.get(f'http://127.0.0.1:{running.port}/')
        one = driver.current_window_handle
        wait.until(lambda _: lines(driver) == ['1 here'])
        driver.switch_to.new_window('tab')
        driver.get(f'http://127.0.0.1:{running.port}/')
        wait.until(lambda _: lines(driver) == ['2 here'])
        driver.find_element(By.TAG_NAME, 'input').send_keys('naïve — ☃\n')
        wait.until(lambda _: lines(driver) == ['2 here', 'naïve — ☃'])
        driver.switch_to.window(one)
        wait.until(lambda _: lines(driver) == ['1 here', '2 here', 'naïve — ☃'])
        assert running.drain() == 17
        wait.until(lambda _: lines(driver)[-1] == 'closed with 1001')


def drawn(driver, canvas):
    """How many pixels of it are painted."""
    return driver.execute_script(
        'const c = document.getElementById(arguments[0]);'
        'const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;'
        'let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n;', canvas)


def text_of(driver, name):
    return driver.find_element(By.ID, name).text


def test_browser_sees_the_worker_live(server, tmp_path):
    running = server(None, '--ini', str(ROOT / 'examples' / 'dashboard' / 'uwsgi.ini'))
    with browser(tmp_path / 'profile') as driver, running.connect() as slow, running.connect() as slower:
        wait = WebDriverWait(driver, 30, poll_frequency=0.05)
        slower.sendall(b'GET /wait?600 HTTP/1.0\r\n\r\n')
        driver.get(f'http://127.0.0.1:{running.port}/')
        wait.until(lambda _: text_of(driver, 'state') == 'live' and text_of(driver, 'requests') == '1')
        slow.sendall(b'GET /wait?601 HTTP/1.0\r\n\r\n')
        wait.until(lambda _: text_of(driver, 'requests') == '2')
        rows = [row.text for row in driver.find_elements(By.CSS_SELECTOR, '#slowest tr')]
        assert ['GET /wait?600 waits for sleep' in rows[0], 'GET /wait?601 waits for sleep' in rows[1]] == [True, True]
        wait.until(lambda _: text_of(driver, 'used') == '3')  # And the page's own stream.
        assert text_of(driver, 'cores') == '200'
        wait.until(lambda _: drawn(driver, 'cores_drawn') > 0 and drawn(driver, 'lag_drawn') > 0)
        running.kill()
        wait.until(lambda _: text_of(driver, 'state') == 'lost, trying again')


def test_browser_shows_what_is_broadcast(server, pages, tmp_path):
    running = server(None, '--ini', str(ROOT / 'examples' / 'broadcast' / 'uwsgi.ini'),
                     environ={'SERVICES': f'{pages}/services', 'SECONDS': '0.2'})
    with browser(tmp_path / 'profile') as driver:
        driver.get(f'http://127.0.0.1:{running.port}/')
        WebDriverWait(driver, 30, poll_frequency=0.05).until(lambda _: driver.find_element(By.TAG_NAME, 'p').text == 'services')
