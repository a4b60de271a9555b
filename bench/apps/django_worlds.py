"""One and twenty queries by Django's ORM, as WSGI (`application`) and as ASGI (`asgi`)."""
import os
import random

import django
import psycopg2.extensions
from django.conf import settings

known = psycopg2.extensions.parse_dsn(os.environ['BENCH_POSTGRES'])
settings.configure(
    ROOT_URLCONF=__name__, SECRET_KEY='not one', ALLOWED_HOSTS=['*'], MIDDLEWARE=[], INSTALLED_APPS=[],
    DATABASES={'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': known['dbname'], 'USER': known['user'],
                           'HOST': known['host'], 'PORT': known['port'], 'CONN_MAX_AGE': None}})
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402  What follows needs the settings.
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import models  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402


class World(models.Model):
    randomnumber = models.IntegerField()

    class Meta:
        app_label, db_table, managed = 'worlds', 'world', False


def some():
    found = World.objects.get(id=random.randint(1, 10_000))
    return {'id': found.id, 'randomNumber': found.randomnumber}


urlpatterns = [
    path('json', lambda request: JsonResponse({'message': 'Hello, World!'})),
    path('query', lambda request: JsonResponse(some())),
    path('queries', lambda request: JsonResponse([some() for _ in range(20)], safe=False)),
]
application = get_wsgi_application()
asgi = get_asgi_application()
