// uWSGI's own header, for this folder and those above it.
#pragma once

// Python.h must come first. uwsgi.h is C and not prepared for C++.
#include <Python.h>

extern "C" {
#include <uwsgi.h>
extern struct uwsgi_server uwsgi;
}
