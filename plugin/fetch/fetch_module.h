// The names of the module that fetch over HTTP.
#pragma once

#include <Python.h>

#include <cstddef>

#include "plugin/loop/io_loop.h"

namespace python {

// Adds them. Where the plugin was built without libcurl they raise one sentence. Throws PyError.
void add_fetch_names(PyObject* module);

// Fetches under way on this loop that will end by themselves: not streams.
std::size_t fetches_in_flight(const loop::IoLoop& loop) noexcept;

// uwsgi_tornado.AsyncHTTPClient, Tornado's client on this engine. Borrowed. Throws PyError.
PyObject* tornado_http_client();

// Has Tornado's AsyncHTTPClient use it, once Tornado is imported. Throws PyError.
void configure_tornado_http_client();

#ifdef UWSGI_TORNADO_DEBUG
// Transfers that somebody still has, for leak checks.
long live_transfers() noexcept;
#endif

}  // namespace python
