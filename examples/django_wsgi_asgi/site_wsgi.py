import mysite  # noqa: F401
from django.core.handlers.wsgi import WSGIHandler

application = WSGIHandler()
