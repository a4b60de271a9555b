import os
import secrets

DEBUG = os.environ.get('DEBUG') == '1'
SECRET_KEY = os.environ.get('SECRET_KEY') or secrets.token_hex()  # A new one at each start ends all sessions.
ALLOWED_HOSTS = os.environ.get('ALLOWED_HOSTS', 'localhost 127.0.0.1').split()

INSTALLED_APPS = ['visits']
MIDDLEWARE = [
    'django.middleware.security.SecurityMiddleware',
    'django.middleware.common.CommonMiddleware',
    'django.middleware.csrf.CsrfViewMiddleware',
]
ROOT_URLCONF = 'mysite.urls'
WSGI_APPLICATION = 'mysite.wsgi.application'

DATABASES = {
    'default': {
        'ENGINE': 'django.db.backends.postgresql',
        # PostgreSQL's own library reads PGHOST, PGPORT, PGUSER and PGPASSWORD; without them: this machine, your login.
        'NAME': os.environ.get('PGDATABASE', 'mysite'),
        # 0: a connection for each request; None: each of the `tornado` cores keeps one. Either way never more than cores.
        'CONN_MAX_AGE': 0,
    }
}

LOGGING = {  # Errors go to uWSGI's log.
    'version': 1,
    'disable_existing_loggers': False,
    'handlers': {'console': {'class': 'logging.StreamHandler'}},
    'root': {'handlers': ['console']},
}

DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'
TIME_ZONE = 'UTC'
USE_TZ = True
