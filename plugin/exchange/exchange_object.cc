#include "plugin/exchange/exchange_object.h"

#include <cerrno>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "plugin/exchange/header_names.h"
#include "plugin/python/static_type.h"

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
using python::raise_errno;

constexpr std::size_t kHeaderMax = 65535;  // uWSGI counts in 16 bits.

class Listener final : public ExchangeListener {
 public:
  explicit Listener(PyObject* self) noexcept : self_(self) {}

  void keep() noexcept override { Py_INCREF(self_); }
  void let_go() noexcept override { Py_DECREF(self_); }
  void on_sent() noexcept override { call("on_sent", PyRef()); }
  void on_received(std::string_view bytes) noexcept override {
    const PyRef object =
        PyRef::steal(PyBytes_FromStringAndSize(bytes.data(), static_cast<Py_ssize_t>(bytes.size())));
    if (object) call("on_received", object);
    else PyErr_WriteUnraisable(self_);
  }
  void on_malformed() noexcept override { call("on_malformed", PyRef()); }
  void on_gone() noexcept override { call("on_gone", PyRef()); }

  PyRef owner;  // None once the request is over.

 private:
  void call(const char* method, const PyRef& argument) noexcept {
    const PyRef called = owner;
    if (!called) return;
    const PyRef name = PyRef::steal(PyUnicode_InternFromString(method));
    const PyRef result = PyRef::steal(
        name ? PyObject_CallMethodObjArgs(called.get(), name.get(), argument.get(), nullptr) : nullptr);
    if (!result) PyErr_WriteUnraisable(called.get());
  }

  PyObject* const self_;
};

struct Object {
  PyObject_HEAD Listener listener;
  Exchange exchange;
};

Object& self_of(PyObject* object) noexcept { return *reinterpret_cast<Object*>(object); }

void dealloc(PyObject* self) noexcept {
  self_of(self).exchange.~Exchange();
  self_of(self).listener.~Listener();
  Py_TYPE(self)->tp_free(self);
}

std::string latin1(PyObject* text) {
  if (PyBytes_Check(text)) return {PyBytes_AS_STRING(text), static_cast<std::size_t>(PyBytes_GET_SIZE(text))};
  if (!PyUnicode_Check(text)) raise(PyExc_TypeError, "a header must be a str");
  const PyRef bytes = py_check(PyUnicode_AsLatin1String(text));
  return {PyBytes_AS_STRING(bytes.get()), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.get()))};
}

// Nothing comes of a line but the line.
std::string line_of(PyObject* text, bool may_be_empty) {
  std::string line = latin1(text);
  if (line.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos)
    PyErr_Format(PyExc_ValueError, "Newline in header: %R", text);
  else if (line.size() > kHeaderMax)
    PyErr_Format(PyExc_ValueError, "Header of more than 65535 bytes: %.100R", text);
  else if (line.empty() && !may_be_empty) PyErr_SetString(PyExc_ValueError, "Header without a name");
  else return line;
  throw PyError{};
}

// --- Methods --------------------------------------------------------------------------------

PyObject* start(PyObject* self, PyObject* args) noexcept {
  return py_boundary([=] {
    PyObject *status, *pairs;
    if (!PyArg_ParseTuple(args, "OO!", &status, &PyList_Type, &pairs)) throw PyError{};
    std::string status_line = line_of(status, false);
    Exchange::Headers headers;
    headers.reserve(static_cast<std::size_t>(PyList_GET_SIZE(pairs)));
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(pairs); ++i) {
      PyObject* const pair = PyList_GET_ITEM(pairs, i);
      if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2)
        raise(PyExc_TypeError, "a header must be a pair");
      std::string name = line_of(PyTuple_GET_ITEM(pair, 0), false);
      if (name.find_first_of(": \t") != std::string::npos)
        raise(PyExc_ValueError, "the name of a header must not contain spaces or colons");
      headers.emplace_back(std::move(name), line_of(PyTuple_GET_ITEM(pair, 1), true));
    }
    self_of(self).exchange.start(std::move(status_line), std::move(headers));
    return none();
  });
}

// What has a buffer of bytes, for as long as this lives.
class Buffer {
 public:
  Buffer(PyObject* object, int flags) {
    if (PyObject_GetBuffer(object, &view_, flags) < 0) throw PyError{};
  }
  ~Buffer() { PyBuffer_Release(&view_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  char* data() const noexcept { return static_cast<char*>(view_.buf); }
  std::size_t size() const noexcept { return static_cast<std::size_t>(view_.len); }

 private:
  Py_buffer view_;
};

PyObject* send(PyObject* self, PyObject* bytes) noexcept {
  return py_boundary([=] {
    const Buffer buffer(bytes, PyBUF_SIMPLE);
    if (!self_of(self).exchange.started()) raise(PyExc_RuntimeError, "send() before start()");
    return PyRef::borrow(self_of(self).exchange.send({buffer.data(), buffer.size()}) ? Py_True : Py_False);
  });
}

PyObject* send_continue(PyObject* self, PyObject* bytes) noexcept {
  return py_boundary([=] {
    const Buffer buffer(bytes, PyBUF_SIMPLE);
    self_of(self).exchange.send_continue({buffer.data(), buffer.size()});
    return none();
  });
}

PyObject* receive(PyObject* self, PyObject* size) noexcept {
  return py_boundary([=] {
    const Py_ssize_t wanted = PyLong_AsSsize_t(size);
    if (wanted == -1 && PyErr_Occurred()) throw PyError{};
    self_of(self).exchange.receive(static_cast<std::size_t>(wanted > 0 ? wanted : 1));
    return none();
  });
}

PyObject* end(PyObject* self, PyObject*) noexcept {
  self_of(self).exchange.end();
  return none().release();
}

PyObject* abort(PyObject* self, PyObject*) noexcept {
  self_of(self).exchange.abort();
  return none().release();
}

PyObject* detach(PyObject* self, PyObject*) noexcept {
  self_of(self).exchange.detach();
  return none().release();
}

// True: what runs from here on is a step of the request's application; False: it has ended.
PyObject* step(PyObject* self, PyObject* begins) noexcept {
  if (begins == Py_True) self_of(self).exchange.step_begins();
  else RequestThread::application_steps(nullptr);
  return none().release();
}

// As socket.recv_into(), None where there is nothing.
PyObject* recv_into(PyObject* self, PyObject* into) noexcept {
  return py_boundary([=] {
    const Buffer buffer(into, PyBUF_WRITABLE);
    const ssize_t got = self_of(self).exchange.read(buffer.data(), buffer.size());
    if (got >= 0) return py_check(PyLong_FromSsize_t(got));
    if (errno == EAGAIN || errno == EWOULDBLOCK) return none();
    raise_errno(errno);
  });
}

// As socket.send(); 0 where nothing is taken now.
PyObject* send_now(PyObject* self, PyObject* bytes) noexcept {
  return py_boundary([=] {
    const Buffer buffer(bytes, PyBUF_SIMPLE);
    Exchange& exchange = self_of(self).exchange;
    if (!exchange.sent()) return py_check(PyLong_FromLong(0));  // The head of the response goes first.
    const ssize_t written = exchange.write(buffer.data(), buffer.size());
    if (written >= 0) return py_check(PyLong_FromSsize_t(written));
    if (errno == EAGAIN || errno == EWOULDBLOCK) return py_check(PyLong_FromLong(0));
    raise_errno(errno);
  });
}

PyObject* fileno(PyObject* self, PyObject*) noexcept {
  const Exchange& exchange = self_of(self).exchange;
  return PyLong_FromLong(exchange.over() ? -1 : exchange.request().fd);
}

// [(name, value)] as the client sent them, as far as uWSGI's variables keep that.
PyObject* headers(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    const wsgi_request& request = self_of(self).exchange.request();
    const PyRef pairs = py_check(PyList_New(0));
    for (int i = 0; i + 1 < request.var_cnt; i += 2) {
      const iovec& name = request.hvec[i];
      const iovec& value = request.hvec[i + 1];
      const PyRef shown = header_name({static_cast<const char*>(name.iov_base), name.iov_len});
      if (!shown || value.iov_len == 0) continue;
      const PyRef text = py_check(PyUnicode_DecodeLatin1(static_cast<const char*>(value.iov_base),
                                                         static_cast<Py_ssize_t>(value.iov_len), nullptr));
      py_check_status(PyList_Append(pairs.get(), py_check(PyTuple_Pack(2, shown.get(), text.get())).get()));
    }
    return PyRef(pairs);
  });
}

PyRef text(const char* bytes, std::size_t size) {
  return py_check(
      PyUnicode_DecodeLatin1(bytes == nullptr ? "" : bytes, static_cast<Py_ssize_t>(size), nullptr));
}

bool is_secure(const wsgi_request& request) noexcept {
  const std::string_view scheme(request.scheme, request.scheme_len);
  if (!scheme.empty()) return scheme == "https";
  const std::string_view https(request.https, request.https_len);
  return https == "on" || https == "ON" || https == "On" || https.substr(0, 1) == "1";
}

// (method, target, protocol, mount point, remote address, scheme)
PyObject* start_line(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    const wsgi_request& request = self_of(self).exchange.request();
    return py_check(PyTuple_Pack(
        6, text(request.method, request.method_len).get(), text(request.uri, request.uri_len).get(),
        text(request.protocol, request.protocol_len).get(),
        text(request.script_name, request.script_name_len).get(),
        text(request.remote_addr, request.remote_addr_len).get(),
        py_check(PyUnicode_FromString(is_secure(request) ? "https" : "http")).get()));
  });
}

PyRef flag(bool value) { return PyRef::borrow(value ? Py_True : Py_False); }

PyObject* speaks_http(PyObject* self, void*) noexcept {
  return flag(self_of(self).exchange.speaks_http()).release();
}
PyObject* keeps(PyObject* self, void*) noexcept {
  return flag(self_of(self).exchange.keeps_connection()).release();
}
PyObject* chunked(PyObject* self, void*) noexcept {
  return flag(self_of(self).exchange.has_chunked_body()).release();
}
PyObject* gone(PyObject* self, void*) noexcept {
  const Exchange& exchange = self_of(self).exchange;
  return flag(exchange.gone() || exchange.ended()).release();
}
PyObject* lost(PyObject* self, void*) noexcept { return flag(self_of(self).exchange.gone()).release(); }
PyObject* body_size(PyObject* self, void*) noexcept {
  return PyLong_FromSize_t(self_of(self).exchange.body_size());
}

PyMethodDef methods[] = {
    {"start", start, METH_VARARGS, nullptr},
    {"send", send, METH_O, nullptr},
    {"send_continue", send_continue, METH_O, nullptr},
    {"receive", receive, METH_O, nullptr},
    {"end", end, METH_NOARGS, nullptr},
    {"abort", abort, METH_NOARGS, nullptr},
    {"detach", detach, METH_NOARGS, nullptr},
    {"step", step, METH_O, nullptr},
    {"recv_into", recv_into, METH_O, nullptr},
    {"send_now", send_now, METH_O, nullptr},
    {"fileno", fileno, METH_NOARGS, nullptr},
    {"headers", headers, METH_NOARGS, nullptr},
    {"start_line", start_line, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"speaks_http", speaks_http, nullptr, nullptr, nullptr},
    {"keeps_connection", keeps, nullptr, nullptr, nullptr},
    {"chunked", chunked, nullptr, nullptr, nullptr},
    {"gone", gone, nullptr, nullptr, nullptr},
    {"lost", lost, nullptr, nullptr, nullptr},
    {"body_size", body_size, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyTypeObject* exchange_type() {
  return python::static_type<Object>("uwsgi_tornado._Exchange", [](PyTypeObject& t) {
    t.tp_doc = "A request and its response, for an application that runs on the loop.";
    t.tp_dealloc = dealloc;
    t.tp_methods = methods;
    t.tp_getset = properties;
  });
}

}  // namespace

PyRef make_exchange(RequestThread& thread) {
  PyRef made = py_check(PyType_GenericAlloc(exchange_type(), 0));
  Object& self = self_of(made.get());
  new (&self.listener) Listener(made.get());
  new (&self.exchange) Exchange(thread, self.listener);
  return made;
}

void set_owner(PyObject* exchange, PyObject* owner) noexcept {
  self_of(exchange).listener.owner = PyRef::borrow(owner);
}

Exchange& exchange_of(PyObject* exchange) noexcept { return self_of(exchange).exchange; }

}  // namespace engine
