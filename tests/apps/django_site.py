"""A Django project in one file, on PostgreSQL with persistent connections. Nothing here knows the engine."""
import asyncio
import os
import threading
import time

import django
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection, models, transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

settings.configure(
    SECRET_KEY='for tests',
    ALLOWED_HOSTS=['*'],
    ROOT_URLCONF=__name__,
    DEFAULT_AUTO_FIELD='django.db.models.AutoField',
    DATABASES={'default': {
        'ENGINE': 'django.db.backends.postgresql', 'NAME': 'postgres', 'USER': 'app',
        'HOST': '127.0.0.1', 'PORT': os.environ['POSTGRES_PORT'], 'CONN_MAX_AGE': None,
    }},
)
django.setup()


class Entry(models.Model):
    request = models.IntegerField()
    step = models.IntegerField()

    class Meta:
        app_label = 'site'
        db_table = 'entry'


class Counter(models.Model):
    value = models.IntegerField()

    class Meta:
        app_label = 'site'
        db_table = 'counter'


class TakenBack(Exception):
    pass


def number(request):
    return int(request.META['QUERY_STRING'] or 0)


def one_row(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()


def session(request):
    """The session of the database that this thread keeps."""
    _, pid = one_row('select pg_sleep(0.2), pg_backend_pid()')
    return HttpResponse(f'{number(request)} {pid} {threading.get_ident()}')


def write(request):
    """Three entries in one transaction, with waits between; every third request takes them back."""
    n = number(request)
    transactions = set()
    try:
        with transaction.atomic():
            for step in range(3):
                Entry.objects.create(request=n, step=step)
                time.sleep(0.05)
                transactions.add(one_row('select txid_current()'))
            seen = Entry.objects.filter(request=n).count()
            if n % 3 == 0:
                raise TakenBack
    except TakenBack:
        pass
    return HttpResponse(f'{n} {seen} {len(transactions)}')


@transaction.atomic
def add_one(request):
    counter = Counter.objects.select_for_update().get()
    time.sleep(0.005)
    counter.value += 1
    counter.save()
    return HttpResponse(number(request))


async def sleep(request):
    await asyncio.sleep(0.2)
    return HttpResponse(number(request))


async def query(request):
    """The ORM from an async view, as Django's documentation has it."""
    n = number(request)
    first, second = await asyncio.gather(asyncio.sleep(0.2, 'slept'), sync_to_async(one_row)(f'select {n}'))
    return HttpResponse(f'{first} {second[0]}')


async def async_session(request):
    """The session of the thread that serves an async view, after a query."""
    def found():
        return (*one_row(f'select {number(request)}, pg_backend_pid()'), threading.get_ident())
    first, (n, pid, thread) = await asyncio.gather(asyncio.sleep(0.2, 'slept'), sync_to_async(found)())
    return HttpResponse(f'{first} {n} {pid} {thread}')


def stream(request):
    n = number(request)

    def lines():
        for step in range(4):
            yield f'{one_row(f"select {n} from pg_sleep(0.05)")[0]},'

    return StreamingHttpResponse(lines())


urlpatterns = [path(view.__name__, view) for view in (session, write, add_one, sleep, query, async_session, stream)]
application = get_wsgi_application()
