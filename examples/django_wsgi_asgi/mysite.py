"""One Django project in one file: a view that blocks, an `async` view, and the objects they share."""
import asyncio
import os
import time

import django
from django.conf import settings
from django.http import JsonResponse
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, SECRET_KEY='not so secret', ALLOWED_HOSTS=['*'])
visits = []


def blocking(request):
    time.sleep(0.5)
    visits.append(request.path)
    return JsonResponse({'process': os.getpid(), 'visits': visits})


async def waiting(request):
    await asyncio.sleep(0.5)
    visits.append(request.path)
    return JsonResponse({'process': os.getpid(), 'visits': visits})


urlpatterns = [path('blocking', blocking), path('waiting', waiting)]
django.setup()
