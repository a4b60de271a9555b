#include "plugin/tornado_web/tornado_web.h"

#include <cstring>
#include <new>

#include "plugin/asyncio/worker_loop.h"
#include "plugin/exchange/exchange_object.h"
#include "plugin/python/interruption.h"
#include "plugin/python/python_source.h"
#include "plugin/uwsgi/interfaces.h"
#include "plugin/uwsgi/python_bridge.h"

// The text of connection.py, for the assembler to find in the folders of the headers.
asm(".pushsection .rodata\n"
    "uwsgi_tornado_connection_source:\n"
    ".incbin \"plugin/tornado_web/connection.py\"\n"
    ".byte 0\n"
    ".popsection");
extern "C" const char uwsgi_tornado_connection_source[] __attribute__((visibility("hidden")));

namespace engine {
namespace {

using python::none;
using python::py_check;
using python::PyError;
using python::PyRef;

// How long a handler that a deadline has cancelled may take to clean up.
constexpr double kCleanUpS = 5;

PyObject* connection_type() {
  static PyObject* const type =
      python::from_python_source(uwsgi_tornado_connection_source, "uwsgi_tornado.tornado_web", "Connection")
          .release();
  return type;
}

// What routes and proxies say of the request's limits, as an environ would have it.
void read_limits(RequestThread& thread, wsgi_request& request) {
  auto* const environ = static_cast<PyObject*>(request.async_environ);
  set_current_environ(environ);  // uWSGI takes it out again.
  for (const char* const key : {kTimeoutKey, kDisconnectKey}) {
    std::uint16_t size = 0;
    const char* const value =
        uwsgi_get_var(&request, const_cast<char*>(key), static_cast<std::uint16_t>(std::strlen(key)), &size);
    if (value == nullptr) continue;
    python::py_check_status(
        PyDict_SetItemString(environ, key, py_check(PyUnicode_DecodeLatin1(value, size, nullptr)).get()));
  }
  thread.limits().read(environ);
}

// function(argument) in the next turn of the loop, on its own stack.
void call_on_loop(const PyRef& connection, const char* method, PyObject* argument) {
  const PyRef bound = py_check(PyObject_GetAttrString(connection.get(), method));
  PyObject* const loop = python::WorkerLoop::instance()->event_loop();
  if (argument == nullptr) py_check(PyObject_CallMethod(loop, "call_soon", "O", bound.get()));
  else py_check(PyObject_CallMethod(loop, "call_soon", "OO", bound.get(), argument));
}

// The handler is cancelled; what it sends all the same is sent. True where that was a whole response.
bool end_interrupted(RequestThread& thread, const PyRef& connection, Exchange& exchange) {
  const bool client_left = thread.limits().ended_by() == EndedBy::kClientGone;
  const python::Shielded shielded(thread);
  call_on_loop(connection, "interrupt", client_left ? Py_True : Py_False);
  exchange.serve(loop::Deadline::after(kCleanUpS));
  const PyRef finished = py_check(PyObject_GetAttrString(connection.get(), "finished"));
  return finished.get() == Py_True && exchange.started() && exchange.sent() && !client_left;
}

void raise_error_of(const PyRef& connection) {
  const PyRef error = py_check(PyObject_GetAttrString(connection.get(), "error"));
  if (error.get() == Py_None) return;
  PyErr_SetObject(PyExceptionInstance_Class(error.get()), error.get());
  throw PyError{};
}

void serve(RequestThread& thread, wsgi_request& request, PyObject* application) {
  read_limits(thread, request);
  const PyRef object = make_exchange(thread);
  Exchange& exchange = exchange_of(object.get());
  const PyRef connection = py_check(PyObject_CallFunctionObjArgs(
      connection_type(), application, object.get(), static_cast<PyObject*>(request.async_environ), nullptr));
  set_owner(object.get(), connection.get());
  call_on_loop(connection, "begin", nullptr);
  bool answered = exchange.serve(loop::Deadline::never());
  if (!answered) answered = end_interrupted(thread, connection, exchange);
  const PyRef closed = PyRef::steal(PyObject_CallMethod(connection.get(), "close", nullptr));
  if (!closed) PyErr_WriteUnraisable(connection.get());
  exchange.leave();
  set_owner(object.get(), nullptr);
  if (!answered) python::raise_if_interrupted(thread);
  raise_error_of(connection);
}

void* request(wsgi_request* request, uwsgi_app* application) noexcept {
  RequestThread* const thread = RequestThread::current();
  try {
    if (thread == nullptr)
      python::raise(PyExc_RuntimeError, "a Tornado application needs a worker of --tornado");
    serve(*thread, *request, callable_of(*application));
    return none().release();
  } catch (const PyError&) {
    uwsgi_manage_exception(request, uwsgi.catch_exceptions);
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    uwsgi_manage_exception(request, uwsgi.catch_exceptions);
  }
  return nullptr;
}

int response(wsgi_request* request) noexcept {
  Py_DECREF(static_cast<PyObject*>(request->async_result));
  request->async_result = nullptr;
  return UWSGI_OK;
}

}  // namespace

void serve_tornado_applications() { serve_interface({"tornado", "Tornado", request, response}); }

}  // namespace engine
