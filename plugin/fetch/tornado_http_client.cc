#include "plugin/fetch/fetch_module.h"
#include "plugin/python/python_source.h"

// The text of tornado_http_client.py, for the assembler to find in the folders of the headers.
asm(".pushsection .rodata\n"
    "uwsgi_tornado_http_client_source:\n"
    ".incbin \"plugin/fetch/tornado_http_client.py\"\n"
    ".byte 0\n"
    ".popsection");
extern "C" const char uwsgi_tornado_http_client_source[] __attribute__((visibility("hidden")));

namespace python {
namespace {

PyRef from_source(const char* name) {
  return from_python_source(uwsgi_tornado_http_client_source, "uwsgi_tornado.tornado_http_client", name);
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
