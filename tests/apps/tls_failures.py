"""Handshakes that succeed, and handshakes that fail for a reason of their own."""
import os
import socket
import ssl

from router import serve

TLS_PORT = int(os.environ['TLS_PORT'])
PLAIN_PORT = int(os.environ['PLAIN_PORT'])

trusting = ssl.create_default_context(cafile=os.environ['CA'])
suspicious = ssl.create_default_context()


def reason_of_failure(context, port):
    with socket.create_connection(('127.0.0.1', port)) as connection:
        try:
            with context.wrap_socket(connection, server_hostname='localhost') as secured:
                return secured.version()
        except ssl.SSLError as error:
            return f'{type(error).__name__} {error.reason}'


application = serve({
    '/good': lambda n: reason_of_failure(trusting, TLS_PORT),
    '/untrusted': lambda n: reason_of_failure(suspicious, TLS_PORT),
    '/no_tls': lambda n: reason_of_failure(trusting, PLAIN_PORT),
})
