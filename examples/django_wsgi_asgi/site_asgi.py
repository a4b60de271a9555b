import mysite  # noqa: F401
from django.core.handlers.asgi import ASGIHandler

application = ASGIHandler()
