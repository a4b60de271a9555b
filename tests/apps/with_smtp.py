"""Sends a mail in each request."""
import os
import smtplib
from email.message import EmailMessage

from router import serve

PORT = int(os.environ['SMTP_PORT'])


def send(n):
    message = EmailMessage()
    message['From'] = 'app@example.org'
    message['To'] = f'user{n}@example.org'
    message['Subject'] = f'mail {n}'
    message.set_content(f'line of {n}\n' * 2000)
    with smtplib.SMTP('127.0.0.1', PORT, local_hostname='app.example.org', timeout=30) as server:
        server.send_message(message)
    return n


application = serve({'/send': send})
