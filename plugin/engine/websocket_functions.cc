// The websocket functions of the module uwsgi.
#include <Python.h>

#include <memory>
#include <new>
#include <string>
#include <utility>

#include "plugin/engine/engine.h"
#include "plugin/engine/uwsgi_module.h"
#include "plugin/python/py_ref.h"
#include "plugin/python/static_type.h"
#include "plugin/uwsgi/python_bridge.h"

namespace engine {
namespace {

using python::as_method;
using python::none;
using python::py_boundary;
using python::py_check;
using python::py_check_status;
using python::PyError;
using python::PyRef;
using python::raise;

// --- uwsgi.request_context() ----------------------------------------------------------------

struct RequestContext {
  PyObject_HEAD std::shared_ptr<WebSocket> websocket;
};

void context_dealloc(PyObject* self) noexcept {
  reinterpret_cast<RequestContext*>(self)->websocket.~shared_ptr();
  Py_TYPE(self)->tp_free(self);
}

PyTypeObject* context_type() {
  return python::static_type<RequestContext>("uwsgi.RequestContext", [](PyTypeObject& t) {
    t.tp_doc = "A request whose websocket other virtual threads of its worker may use.";
    t.tp_dealloc = context_dealloc;
  });
}

// The thread that calls. Throws PyError.
RequestThread& calling_thread() {
  RequestThread* const thread = RequestThread::current();
  if (thread != nullptr && Engine::instance() != nullptr) return *thread;
  raise(PyExc_RuntimeError,
        "websocket functions must be called in a request or in a function of uwsgi_tornado.spawn()");
}

std::shared_ptr<WebSocket> own_websocket(RequestThread& thread) {
  Core& core = Engine::instance()->core_of(thread.request());
  if (core.request() == thread.request()) return core.websocket();
  raise(PyExc_RuntimeError, "this is not a request: pass request_context=");
}

// The websocket of `context`, or that of the calling request if it is null or None.
std::shared_ptr<WebSocket> websocket_of(PyObject* context, RequestThread& thread) {
  if (context == nullptr || context == Py_None) return own_websocket(thread);
  if (Py_TYPE(context) == context_type()) return reinterpret_cast<RequestContext*>(context)->websocket;
  raise(PyExc_TypeError, "request_context must be a result of uwsgi.request_context()");
}

PyObject* request_context(PyObject*, PyObject*) noexcept {
  return py_boundary([] {
    std::shared_ptr<WebSocket> websocket = own_websocket(calling_thread());
    PyTypeObject* const type = context_type();
    PyRef context = py_check(PyType_GenericAlloc(type, 0));
    new (&reinterpret_cast<RequestContext*>(context.get())->websocket)
        std::shared_ptr<WebSocket>(std::move(websocket));
    return context;
  });
}

// --- uwsgi.WebSocketClosed --------------------------------------------------------------------

PyObject* closed_type() noexcept {
  static PyObject* const type = PyErr_NewExceptionWithDoc(
      "uwsgi.WebSocketClosed",
      "The websocket is closed. `code` and `reason` are the client's. The code is 1005 "
      "if the client gave none,\n1006 if the connection was lost without a close "
      "frame, and 1001 if the worker ends.",
      PyExc_OSError, nullptr);
  return type;
}

void set_attribute(const PyRef& object, const char* name, PyRef value) {
  py_check_status(PyObject_SetAttrString(object.get(), name, value.get()));
}

// The text is uWSGI's.
[[noreturn]] void raise_closed(const WebSocket& websocket, const char* text) {
  if (closed_type() == nullptr) throw PyError{};
  const PyRef error = py_check(PyObject_CallFunction(closed_type(), "s", text));
  const std::string& reason = websocket.close_reason();
  set_attribute(error, "code", py_check(PyLong_FromLong(websocket.close_code())));
  set_attribute(
      error, "reason",
      py_check(PyUnicode_DecodeUTF8(reason.data(), static_cast<Py_ssize_t>(reason.size()), "replace")));
  PyErr_SetObject(closed_type(), error.get());
  throw PyError{};
}

// --- Messages -----------------------------------------------------------------------------------

PyRef receive(PyObject* args, PyObject* kwargs, bool wait) {
  static const char* const names[] = {"request_context", "decode", nullptr};
  PyObject* context = nullptr;
  int decode = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, wait ? "|Op:websocket_recv" : "|Op:websocket_recv_nb",
                                   const_cast<char**>(names), &context, &decode)) {
    throw PyError{};
  }
  RequestThread& thread = calling_thread();
  const std::shared_ptr<WebSocket> websocket = websocket_of(context, thread);
  PyRef message;
  const WebSocket::Received got = websocket->receive(thread, wait, [&](bool text, std::string_view payload) {
    const auto size = static_cast<Py_ssize_t>(payload.size());
    message = text && decode ? py_check(PyUnicode_DecodeUTF8(payload.data(), size, nullptr))
                             : py_check(PyBytes_FromStringAndSize(payload.data(), size));
  });
  if (got == WebSocket::Received::kClosed) raise_closed(*websocket, "unable to receive websocket message");
  return got == WebSocket::Received::kMessage ? message : py_check(PyBytes_FromStringAndSize(nullptr, 0));
}

PyObject* websocket_recv(PyObject*, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] { return receive(args, kwargs, true); });
}

PyObject* websocket_recv_nb(PyObject*, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] { return receive(args, kwargs, false); });
}

PyRef send(PyObject* args, PyObject* kwargs, Opcode opcode) {
  static const char* const names[] = {"message", "request_context", nullptr};
  const bool text = opcode == Opcode::kText;
  const char* message = nullptr;
  Py_ssize_t size = 0;
  PyObject* context = nullptr;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, text ? "s#|O:websocket_send" : "s#|O:websocket_send_binary",
                                   const_cast<char**>(names), &message, &size, &context)) {
    throw PyError{};
  }
  RequestThread& thread = calling_thread();
  const std::shared_ptr<WebSocket> websocket = websocket_of(context, thread);
  if (websocket->send(thread, opcode, {message, static_cast<std::size_t>(size)})) return none();
  raise_closed(*websocket,
               text ? "unable to send websocket message" : "unable to send websocket binary message");
}

PyObject* websocket_send(PyObject*, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] { return send(args, kwargs, Opcode::kText); });
}

PyObject* websocket_send_binary(PyObject*, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] { return send(args, kwargs, Opcode::kBinary); });
}

PyObject* websocket_close(PyObject*, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    static const char* const names[] = {"code", "reason", "request_context", nullptr};
    int code = close_code::kNormal;
    const char* reason = "";
    Py_ssize_t size = 0;
    PyObject* context = nullptr;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|is#O:websocket_close", const_cast<char**>(names), &code,
                                     &reason, &size, &context)) {
      throw PyError{};
    }
    if (!close_code::may_be_sent(code)) {
      raise(PyExc_ValueError,
            "a close code must be from 1000 to 1014, except 1004 to 1006, or from 3000 to 4999");
    }
    if (size > 123) raise(PyExc_ValueError, "a close reason must not be longer than 123 bytes");
    RequestThread& thread = calling_thread();
    websocket_of(context, thread)->close(thread, code, {reason, static_cast<std::size_t>(size)});
    return none();
  });
}

PyMethodDef methods[] = {
    {"request_context", request_context, METH_NOARGS,
     "request_context()\n--\n\n"
     "Returns this request, for websocket functions that are called elsewhere in the worker: in a\n"
     "function of uwsgi_tornado.spawn(), or in another request. As in uWSGI 2.1."},
    {"websocket_recv", as_method(websocket_recv), METH_VARARGS | METH_KEYWORDS,
     "websocket_recv(request_context=None, decode=False)\n--\n\n"
     "Waits for the next message and returns it as bytes; with `decode`, a text message as str. Only\n"
     "the caller is suspended. Raises uwsgi.WebSocketClosed, an OSError, with the client's code."},
    {"websocket_recv_nb", as_method(websocket_recv_nb), METH_VARARGS | METH_KEYWORDS,
     "websocket_recv_nb(request_context=None, decode=False)\n--\n\n"
     "Like websocket_recv(), but does not wait: returns b'' if there is no message."},
    {"websocket_send", as_method(websocket_send), METH_VARARGS | METH_KEYWORDS,
     "websocket_send(message, request_context=None)\n--\n\nSends a text message, str or bytes of UTF-8."},
    {"websocket_send_binary", as_method(websocket_send_binary), METH_VARARGS | METH_KEYWORDS,
     "websocket_send_binary(message, request_context=None)\n--\n\nSends a binary message."},
    {"websocket_close", as_method(websocket_close), METH_VARARGS | METH_KEYWORDS,
     "websocket_close(code=1000, reason='', request_context=None)\n--\n\n"
     "Closes the websocket with a code of RFC 6455. Calls that wait for a message end."},
};

}  // namespace

void install_websocket_functions() {
  if (closed_type() == nullptr) throw PyError{};
  set_uwsgi_name("WebSocketClosed", closed_type());
  for (PyMethodDef& method : methods) {
    set_uwsgi_name(method.ml_name, py_check(PyCFunction_New(&method, nullptr)).get());
  }
}

}  // namespace engine
