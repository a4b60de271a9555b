// uWSGI's own header, for this room and those above it.
#pragma once

// Python.h comes first, as it asks to; uwsgi.h is C and knows no C++.
#include <Python.h>

extern "C" {
#include <uwsgi.h>
extern struct uwsgi_server uwsgi;
}
