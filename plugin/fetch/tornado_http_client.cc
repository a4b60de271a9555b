#include "plugin/fetch/fetch_module.h"
#include "plugin/python/python_source.h"

UWSGI_TORNADO_PYTHON_SOURCE(tornado_http_client_source, "plugin/fetch/tornado_http_client.py");

namespace python {
namespace {

PyRef from_source(const char* name) {
  return from_python_source(tornado_http_client_source, "uwsgi_tornado.tornado_http_client", name);
}

}  // namespace

PyObject* tornado_http_client() {
  static PyObject* const type = from_source("AsyncHTTPClient").release();
  return type;
}

void configure_tornado_http_client() {
  const PyRef configure = from_python_source(
      "def configure(module):\n"
      "    import uwsgi_tornado\n"
      "    module.AsyncHTTPClient.configure(uwsgi_tornado.AsyncHTTPClient)\n",
      "uwsgi_tornado.configure", "configure");
  when_imported("tornado.httpclient", configure);
}

}  // namespace python
