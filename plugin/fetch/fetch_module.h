// The names of the module for fetching over HTTP.
#pragma once

#include <Python.h>

#include <cstddef>

#include "plugin/loop/io_loop.h"

namespace python {

// Adds them. If the plugin was built without libcurl, they raise an error that says so. Throws PyError.
void add_fetch_names(PyObject* module);

// Number of fetches on this loop that will end by themselves, which streams may not.
std::size_t fetches_in_flight(const loop::IoLoop& loop) noexcept;

// uwsgi_tornado.AsyncHTTPClient, Tornado's client on this engine. Borrowed. Throws PyError.
PyObject* tornado_http_client();

// Makes Tornado's AsyncHTTPClient use it once Tornado is imported. Throws PyError.
void configure_tornado_http_client();

#ifdef UWSGI_TORNADO_DEBUG
// Number of transfers that are still referenced, for leak checks.
long live_transfers() noexcept;
#endif

}  // namespace python
