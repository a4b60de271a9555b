from datetime import timedelta

from django.db import connection
from django.http import HttpResponse
from django.utils import timezone

from .models import Visit


def index(request):
    Visit.objects.create(agent=request.headers.get('User-Agent', '')[:200])
    recent = Visit.objects.filter(at__gt=timezone.now() - timedelta(minutes=1))
    return HttpResponse(f'{Visit.objects.count()} visits, {recent.count()} in the last minute\n', content_type='text/plain')


def slow(request):
    """A query of one second. psycopg2 waits for it in C, which suspends only this request."""
    with connection.cursor() as cursor:
        cursor.execute('select pg_sleep(1), pg_backend_pid()')
        _, session = cursor.fetchone()
    return HttpResponse(f'waited in session {session}\n', content_type='text/plain')
