"""Django's ASGI with channels: views of both kinds, a websocket."""
import django
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, SECRET_KEY='tests', ALLOWED_HOSTS=['*'], DEBUG=False, INSTALLED_APPS=['channels'])
django.setup()


async def hello(request):
    return HttpResponse('hello', content_type='text/plain')


def plain(request, name):
    return JsonResponse({'name': name, 'path': request.path, 'query': request.GET.dict(), 'method': request.method,
                         'header': request.headers.get('X-Some-Header'), 'script': request.META['SCRIPT_NAME']})


def echo(request):
    return HttpResponse(request.body, content_type='application/octet-stream')


def form(request):
    return JsonResponse(request.POST.dict())


def stream(request):
    return StreamingHttpResponse((b'chunk %d\n' % number for number in range(5)), content_type='text/plain')


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send('you said ' + text_data)


class PlainEcho(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send('you said ' + text_data)


urlpatterns = [path('', hello), path('plain/<name>', plain), path('echo', echo), path('form', form), path('stream', stream)]
application = ProtocolTypeRouter({
    'http': get_asgi_application(),
    'websocket': URLRouter([path('ws', Echo.as_asgi()), path('plain_ws', PlainEcho.as_asgi())]),
})
