"""A real browser talks to the chat and to what is broadcast, of examples/."""
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


def test_browser_shows_what_is_broadcast(server, pages, tmp_path):
    running = server(None, '--ini', str(ROOT / 'examples' / 'broadcast' / 'uwsgi.ini'),
                     environ={'SERVICES': f'{pages}/services', 'SECONDS': '0.2'})
    with browser(tmp_path / 'profile') as driver:
        driver.get(f'http://127.0.0.1:{running.port}/')
        WebDriverWait(driver, 30, poll_frequency=0.05).until(lambda _: driver.find_element(By.TAG_NAME, 'p').text == 'services')
