"""smtplib to a mail server that thinks 0.2 s about each mail."""
import pytest

from overlap import REQUESTS, ask_at_once, assert_overlap


def mails(mail_server):
    return sorted((mail['To'], mail['Subject'], len(mail.get_payload())) for mail in mail_server.mails)


def sent(count):
    return sorted((f'user{n}@example.org', f'mail {n}', len(f'line of {n}\r\n') * 2000) for n in range(count))


@pytest.mark.smoke
def test_requests_that_send_mail_overlap(server, mail_server):
    running = server('with_smtp.py', cores=REQUESTS, environ={'SMTP_PORT': str(mail_server.port)})
    assert_overlap(running, '/send', str)
    assert mails(mail_server) == sent(REQUESTS)


def test_mails_are_those_of_threads(threaded_server, mail_server):
    running = threaded_server('with_smtp.py', environ={'SMTP_PORT': str(mail_server.port)})
    answers, _ = ask_at_once(running, '/send', 8)
    assert answers == [str(n) for n in range(8)]
    assert mails(mail_server) == sent(8)
