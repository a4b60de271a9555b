#include "plugin/asgi/interface.h"

#include <cstdint>
#include <memory>
#include <new>
#include <string>

#include "plugin/asgi/http_connection.h"
#include "plugin/asgi/lifespan.h"
#include "plugin/asgi/message.h"
#include "plugin/asgi/scope.h"
#include "plugin/asgi/websocket_connection.h"
#include "plugin/uwsgi/interfaces.h"
#include "plugin/uwsgi/python_bridge.h"

namespace asgi {
namespace {

using python::PyError;
using python::PyRef;

// A handshake that is none.
void refuse(wsgi_request& request, std::string status) {
  uwsgi_response_prepare_headers(&request, status.data(), static_cast<std::uint16_t>(status.size()));
  char name[] = "Sec-WebSocket-Version";
  char version[] = "13";
  uwsgi_response_add_header(&request, name, sizeof name - 1, version, sizeof version - 1);
  uwsgi_response_add_connection_close(&request);
  uwsgi_response_write_headers_do(&request);
}

void serve(wsgi_request& request, const uwsgi_app& application) {
  engine::RequestThread& thread = *engine::RequestThread::current();
  auto* const environ = static_cast<PyObject*>(request.async_environ);
  engine::set_current_environ(environ);  // uWSGI takes it out again.
  thread.limits().read_variables(request, environ);
  const PyRef callable = PyRef::borrow(static_cast<PyObject*>(application.callable));
  const Asked asked = asked_of(request);
  const bool websocket = asks_for_websocket(asked);
  if (const char* const why = websocket ? why_no_websocket(request) : nullptr) {
    refuse(request, why);
    return;
  }
  PyObject* const state = Lifespans::state_of(request.app_id);
  std::unique_ptr<Connection> made;
  if (websocket) made = std::make_unique<WebSocketConnection>(thread, state);
  else made = std::make_unique<HttpConnection>(thread, asked, state);
  Connection& connection = *made;
  const PyRef object = Connection::give(std::move(made));
  connection.serve(object, callable.get());
}

void* request_subhandler(wsgi_request* request, uwsgi_app* application) {
  try {
    serve(*request, *application);
  } catch (const PyError&) {
    uwsgi_manage_exception(request, uwsgi.catch_exceptions);
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    uwsgi_manage_exception(request, uwsgi.catch_exceptions);
  }
  return nullptr;  // All is sent.
}

int response_subhandler(wsgi_request*) { return UWSGI_OK; }

}  // namespace

bool is_asgi(const uwsgi_app& application) noexcept {
  return application.request_subhandler == request_subhandler;
}

void serve_asgi() {
  engine::serve_interface({"asgi", "ASGI", request_subhandler, response_subhandler, true});
}

}  // namespace asgi
