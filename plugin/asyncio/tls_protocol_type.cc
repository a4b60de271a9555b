// The Python types of TLS, and where loops use them.
#include <Python.h>

#include <structmember.h>

#include <iterator>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/derived_type.h"
#include "plugin/asyncio/event_loop.h"
#include "plugin/asyncio/library_function.h"
#include "plugin/asyncio/stream_feed.h"
#include "plugin/asyncio/tls_library.h"
#include "plugin/asyncio/tls_methods.h"
#include "plugin/asyncio/tls_protocol.h"
#include "plugin/asyncio/tls_state.h"
#include "plugin/asyncio/transport.h"
#include "plugin/asyncio/transport_names.h"

namespace python {
namespace {

// asyncio's methods that are replaced here, or that C++ code does without.
constexpr const char* kReplaced[] = {
    "__init__",
    "_set_app_protocol",
    "_get_app_transport",
    "get_buffer",
    "buffer_updated",
    "_do_read",
    "_do_read__buffered",
    "_do_read__copied",
    "_do_write",
    "_write_appdata",
    "_process_outgoing",
    "_control_app_writing",
    "_control_ssl_reading",
    "_get_write_buffer_size",
    "_get_read_buffer_size",
};
constexpr const char* kCalled[] = {
    "_do_handshake", "_do_flush", "_do_shutdown", "_start_shutdown", "_call_eof_received", "_fatal_error",
};

// asyncio's classes, and ours. Borrowed: they live as long as the process. Null as long as asyncio's are not
// as known.
struct Classes {
  PyTypeObject* their_protocol = nullptr;
  PyTypeObject* their_transport = nullptr;
  PyTypeObject* protocol = nullptr;
  PyTypeObject* transport = nullptr;
  Py_ssize_t protocol_of_transport = 0;  // The slot's place.
};
Classes classes;
TlsMethods methods_;

PyObject* entry_of(PyTypeObject* type, const char* name) noexcept {
  PyObject* const entry = PyDict_GetItemString(type->tp_dict, name);
  PyErr_Clear();
  return entry;
}

PyObject* as_object(PyTypeObject* type) noexcept { return reinterpret_cast<PyObject*>(type); }

// --- Methods of the protocol --------------------------------------------------------------------

// asyncio's method, as it is now.
PyRef call_theirs(PyObject* method, PyObject* self, PyObject* argument = nullptr) {
  return py_check(
      PyObject_CallMethodObjArgs(as_object(classes.their_protocol), method, self, argument, nullptr));
}

// asyncio's constructor makes a buffer of max_size bytes, for get_buffer(), which makes a larger one if it is
// called at all.
PyObject* initialise(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    static PyObject* const max_size = TransportNames::interned("max_size");
    static PyObject* const none_yet = py_check(PyLong_FromLong(0)).release();
    const PyRef theirs = py_check(PyObject_GetAttrString(as_object(classes.their_protocol), "__init__"));
    py_check_status(PyObject_SetAttr(self, max_size, none_yet));
    call_with_first(theirs.get(), self, args, kwargs);
    py_check_status(PyObject_DelAttr(self, max_size));
  });
}

PyObject* set_app_protocol(PyObject* self, PyObject* protocol) noexcept {
  return py_boundary([=] {
    static PyObject* const name = TransportNames::interned("_set_app_protocol");
    call_theirs(name, self, protocol);
    TlsState(self).set(TlsField::kFeedsStream, boolean(is_plain_stream(protocol)));
  });
}

PyObject* get_app_transport(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    static PyObject* const name = TransportNames::interned("_get_app_transport");
    const TlsState tls(self);
    if (tls.peek(TlsField::kAppTransport) != Py_None || tls.peek(TlsField::kAppTransportCreated) != Py_False)
      return call_theirs(name, self);
    const PyRef loop = tls.get(TlsField::kLoop);
    PyRef made =
        py_check(PyObject_CallFunctionObjArgs(as_object(classes.transport), loop.get(), self, nullptr));
    tls.set(TlsField::kAppTransport, made);
    tls.set(TlsField::kAppTransportCreated, boolean(true));
    return made;
  });
}

PyObject* do_read(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] { call_do_read(self); });
}

PyObject* process_outgoing(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] { call_process_outgoing(self); });
}

PyMethodDef protocol_methods[] = {
    {"__init__", as_method(initialise), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"_set_app_protocol", set_app_protocol, METH_O, nullptr},
    {"_get_app_transport", get_app_transport, METH_NOARGS, nullptr},
    {"_do_read", do_read, METH_NOARGS, nullptr},
    {"_process_outgoing", process_outgoing, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

// --- The transport of the application -----------------------------------------------------------

// What C++ leaves alone is asyncio's method's.
using InCpp = bool (*)(PyObject* protocol, PyObject* data);
PyObject* write_by(InCpp in_cpp, PyObject* name, PyObject* self, PyObject* const* args, Py_ssize_t count,
                   PyObject* names) noexcept {
  return py_boundary([=] {
    const PyRef protocol = PyRef::borrow(
        *reinterpret_cast<PyObject**>(reinterpret_cast<char*>(self) + classes.protocol_of_transport));
    const bool plain = count == 1 && names == nullptr && protocol && is_tls_protocol(protocol.get());
    if (plain && in_cpp(protocol.get(), args[0])) return none();
    const PyRef bound =
        py_check(PyMethod_New(attribute(as_object(classes.their_transport), name).get(), self));
    return py_check(vectorcall(bound.get(), args, static_cast<std::size_t>(count), names));
  });
}

PyObject* write(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) noexcept {
  return write_by(tls_write, transport_names().write, self, args, count, names);
}

PyObject* writelines(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) noexcept {
  static PyObject* const name = TransportNames::interned("writelines");
  return write_by(tls_writelines, name, self, args, count, names);
}

PyMethodDef transport_methods[] = {
    {"write", as_method(write), METH_FASTCALL | METH_KEYWORDS,
     "write($self, data)\n--\n\nEncrypts bytes and sends them, and keeps those that the kernel does not take "
     "yet."},
    {"writelines", as_method(writelines), METH_FASTCALL | METH_KEYWORDS,
     "writelines($self, list_of_data)\n--\n\nDoes so with several pieces of bytes, together."},
    {nullptr, nullptr, 0, nullptr},
};

// --- Making the types ---------------------------------------------------------------------------

// asyncio's module and two of its classes, as they are now.
struct Theirs {
  PyRef module = py_check(PyImport_ImportModule("asyncio.sslproto"));
  PyRef protocol = py_check(PyObject_GetAttrString(module.get(), "SSLProtocol"));
  PyRef transport = py_check(PyObject_GetAttrString(module.get(), "_SSLProtocolTransport"));

  PyTypeObject* protocol_type() const noexcept { return reinterpret_cast<PyTypeObject*>(protocol.get()); }
  PyTypeObject* transport_type() const noexcept { return reinterpret_cast<PyTypeObject*>(transport.get()); }

  // Whether nobody has replaced a method that is not called.
  bool are_original() const {
    if (!PyType_Check(protocol.get()) || !PyType_Check(transport.get())) return false;
    for (const char* name : kReplaced) {
      if (!is_library_function(entry_of(protocol_type(), name), module.get(), name)) return false;
    }
    for (const char* name : {"write", "writelines"}) {
      if (!is_library_function(entry_of(transport_type(), name), module.get(), name)) return false;
    }
    return know_tls_library() && is_tls_library_same();
  }
};

// Whether asyncio's methods have the attribute that is one of our slots.
bool is_used(const Theirs& theirs, const char* attribute_name) {
  const PyRef name = py_check(PyUnicode_InternFromString(attribute_name));
  for (const char* replaced : kReplaced) {
    const PyRef code =
        py_check(PyObject_GetAttrString(entry_of(theirs.protocol_type(), replaced), "__code__"));
    const int has =
        PySequence_Contains(py_check(PyObject_GetAttrString(code.get(), "co_names")).get(), name.get());
    py_check_status(has);
    if (has == 1) return true;
  }
  return false;
}

// Up to CPython 3.10 asyncio had another protocol, and from 3.15 on it may have one.
bool are_as_known(const Theirs& theirs) {
  constexpr bool known_version = PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030F0000;
  if (!known_version) return false;
  for (const char* name : kCalled) {
    if (entry_of(theirs.protocol_type(), name) == nullptr) return false;
  }
  for (std::size_t i = 0; i < kTlsFields; ++i) {
    if (i != static_cast<std::size_t>(TlsField::kFeedsStream) && !is_used(theirs, kTlsFieldNames[i]))
      return false;
  }
  return true;
}

// Where objects of the type have the slot.
Py_ssize_t place_of(PyTypeObject* type, const char* name) {
  PyObject* const slot = entry_of(type, name);
  if (slot == nullptr || Py_TYPE(slot) != &PyMemberDescr_Type)
    raise(PyExc_ImportError, "%s is no slot", name);
  return reinterpret_cast<PyMemberDescrObject*>(slot)->d_member->offset;
}

void know_methods(const Theirs& theirs) {
  const PyRef states = py_check(PyObject_GetAttrString(theirs.module.get(), "SSLProtocolState"));
  const auto state = [&](const char* name) {
    return py_check(PyObject_GetAttrString(states.get(), name)).release();
  };
  const auto name = TransportNames::interned;
  methods_ = {name("_do_handshake"),
              name("_do_read"),
              name("_do_write"),
              name("_do_flush"),
              name("_do_shutdown"),
              name("_start_shutdown"),
              name("_call_eof_received"),
              name("_control_app_writing"),
              name("_control_ssl_reading"),
              name("_fatal_error"),
              name("append"),
              name("call_soon"),
              state("DO_HANDSHAKE"),
              state("WRAPPED"),
              state("FLUSHING"),
              state("SHUTDOWN")};
}

PyTypeObject* make(PyTypeObject* base, const char* name, const char* doc, PyMethodDef* methods,
                   const PyRef& slots) {
  return reinterpret_cast<PyTypeObject*>(
      derived_type(as_object(base), name, doc, methods, slots.get()).release());
}

void make_types(const Theirs& theirs) {
  if (!are_as_known(theirs)) return;
  know_methods(theirs);
  const PyRef fields = py_check(PyTuple_New(kTlsFields));
  for (std::size_t i = 0; i < kTlsFields; ++i) {
    PyTuple_SET_ITEM(fields.get(), static_cast<Py_ssize_t>(i), TransportNames::interned(kTlsFieldNames[i]));
  }
  PyTypeObject* const protocol =
      make(theirs.protocol_type(), "_SSLProtocol", "TLS over a transport.", protocol_methods, fields);
  for (std::size_t i = 0; i < kTlsFields; ++i) TlsState::offsets[i] = place_of(protocol, kTlsFieldNames[i]);
  classes.transport = make(theirs.transport_type(), "_SSLProtocolTransport", "A transport over TLS.",
                           transport_methods, py_check(Py_BuildValue("(s)", "_ssl_protocol")));
  classes.protocol_of_transport = place_of(classes.transport, "_ssl_protocol");
  classes.their_protocol = reinterpret_cast<PyTypeObject*>(PyRef(theirs.protocol).release());
  classes.their_transport = reinterpret_cast<PyTypeObject*>(PyRef(theirs.transport).release());
  classes.protocol = protocol;
}

// Once: where that fails, asyncio's classes are used. REQUIRES: theirs.are_original().
void need_types(const Theirs& theirs) {
  static bool done = false;
  if (done) return;
  done = true;
  try {
    make_types(theirs);
  } catch (const PyError&) {
    if (!PyErr_ExceptionMatches(PyExc_Exception)) throw;
    PyErr_Clear();
  }
}

// --- start_tls() --------------------------------------------------------------------------------

// SSLProtocol(loop, ...)
PyObject* make_protocol(PyObject*, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    if (PyTuple_GET_SIZE(args) < 1) raise(PyExc_TypeError, "SSLProtocol() needs a loop");
    return py_check(PyObject_Call(tls_protocol_type(PyTuple_GET_ITEM(args, 0)).get(), args, kwargs));
  });
}

}  // namespace

PyRef tls_protocol_type(PyObject* loop) {
  const Theirs theirs;
  EventLoop* const core = EventLoop::of(loop);
  if (core == nullptr || core->debug() || !theirs.are_original()) return theirs.protocol;
  need_types(theirs);
  const bool ours = classes.protocol != nullptr && theirs.protocol_type() == classes.their_protocol &&
                    theirs.transport_type() == classes.their_transport;
  return ours ? PyRef::borrow(as_object(classes.protocol)) : theirs.protocol;
}

bool is_tls_protocol(PyObject* object) noexcept {
  return Py_TYPE(object) == classes.protocol && classes.protocol != nullptr;
}

const TlsMethods& tls_methods() { return methods_; }

void call_do_read(PyObject* self) {
  if (!is_tls_protocol(self) || !tls_do_read(self)) call_theirs(methods_.do_read, self);
}

void call_process_outgoing(PyObject* self) {
  static PyObject* const name = TransportNames::interned("_process_outgoing");
  if (!is_tls_protocol(self) || !tls_process_outgoing(self)) call_theirs(name, self);
}

// asyncio's start_tls() asks the module `sslproto` for SSLProtocol. Ours is asyncio's own function, for which
// that is what make_protocol() gives.
void add_tls_methods(PyObject* class_body) {
  static PyMethodDef method = {"SSLProtocol", as_method(make_protocol), METH_VARARGS | METH_KEYWORDS,
                               nullptr};
  const PyRef options = py_check(PyDict_New());
  py_check_status(
      PyDict_SetItemString(options.get(), "SSLProtocol", py_check(PyCFunction_New(&method, nullptr)).get()));
  const PyRef stand_in = py_check(
      PyObject_Call(asyncio_names().simple_namespace, py_check(PyTuple_New(0)).get(), options.get()));
  replace_global(class_body, "start_tls", "sslproto", stand_in.get());
}

}  // namespace python
