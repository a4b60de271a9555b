"""The usual HTTP clients, as an app for threads would use them."""
import http.client
import io
import os
import ssl
import threading
import urllib.request

import httpx
import pycurl
import requests
import urllib3

from router import serve

URL = os.environ['URL']  # Without the path.
CA = os.environ.get('CA')

context = ssl.create_default_context(cafile=CA)
local = threading.local()
httpx_client = httpx.Client(verify=context if CA else True, timeout=30)
urllib3_pool = urllib3.PoolManager(ca_certs=CA, maxsize=200)
small_pool = urllib3.PoolManager(ca_certs=CA, maxsize=10, block=True)


def with_requests(n):
    return requests.get(f'{URL}/{n}', verify=CA, timeout=30).text


def with_session(n):
    if not hasattr(local, 'session'):
        local.session = requests.Session()
    return local.session.get(f'{URL}/{n}', verify=CA, timeout=30).text


def with_urllib3(n):
    return urllib3_pool.request('GET', f'{URL}/{n}', timeout=30).data.decode()


def with_small_pool(n):
    return small_pool.request('GET', f'{URL}/{n}').data.decode()


def with_httpx(n):
    return httpx_client.get(f'{URL}/{n}').text


def with_urllib(n):
    with urllib.request.urlopen(f'{URL}/{n}', context=context if CA else None, timeout=30) as response:
        return response.read().decode()


def with_pycurl(n):
    body = io.BytesIO()
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, f'{URL}/{n}')
    curl.setopt(pycurl.WRITEFUNCTION, body.write)  # Calls back into Python from C.
    if CA:
        curl.setopt(pycurl.CAINFO, CA)
        curl.setopt(pycurl.CAPATH, os.path.dirname(CA))  # Else it reads the system's, for each connection.
    curl.perform()
    curl.close()
    return body.getvalue().decode()


def timeout(n):
    """The client's own timeout."""
    try:
        requests.get(f'{URL}/never/{n}', verify=CA, timeout=(30, 0.1))
    except requests.Timeout as error:
        return f'{n} {error.__class__.__name__}'


def upload(n):
    """More than the socket takes at once."""
    return requests.post(f'{URL}/{n}', data=b'x' * 1_000_000, verify=CA, timeout=30).text


def refused(n):
    connection = http.client.HTTPConnection('127.0.0.1', 1)
    try:
        connection.request('GET', '/')
    except ConnectionRefusedError as error:
        return f'{n} {error.__class__.__name__}'


application = serve({
    '/requests': with_requests, '/session': with_session, '/urllib3': with_urllib3, '/httpx': with_httpx,
    '/urllib': with_urllib, '/pycurl': with_pycurl, '/small_pool': with_small_pool, '/timeout': timeout,
    '/upload': upload, '/refused': refused,
})
