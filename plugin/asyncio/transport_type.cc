// The Python type uwsgi_tornado._SocketTransport: what its methods take and give.
#include <Python.h>

#include <structmember.h>

#include <new>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/event_loop_fields.h"
#include "plugin/asyncio/tls_protocol.h"
#include "plugin/asyncio/transport.h"

namespace python {
namespace {

// It inherits from asyncio's class with the water marks, which is a Transport, so that isinstance() and
// what asyncio does with both are asyncio's own.
struct TransportHead {
  PyObject_HEAD void* inherited[8];  // Where asyncio's classes keep their slots: hidden by ours, empty.
  PyObject* dict;
  PyObject* weak_references;
};
struct TransportObject : TransportHead {
  SocketTransport transport;
};

PyTypeObject* type_ = nullptr;

TransportObject& object_of(PyObject* self) noexcept { return *reinterpret_cast<TransportObject*>(self); }
SocketTransport& transport_of(PyObject* self) noexcept { return object_of(self).transport; }

// --- Methods --------------------------------------------------------------------------------

template <void (SocketTransport::*Method)()>
PyObject* call(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] { (transport_of(self).*Method)(); });
}

template <void (SocketTransport::*Method)(PyObject*)>
PyObject* call_with(PyObject* self, PyObject* argument) noexcept {
  return py_boundary([=] { (transport_of(self).*Method)(argument); });
}

template <bool (SocketTransport::*Method)() const noexcept>
PyObject* ask(PyObject* self, PyObject*) noexcept {
  return PyBool_FromLong((transport_of(self).*Method)());
}

PyObject* get_protocol(PyObject* self, PyObject*) noexcept {
  PyObject* const protocol = transport_of(self).protocol();
  return PyRef::borrow(protocol == nullptr ? Py_None : protocol).release();
}

PyObject* can_write_eof(PyObject*, PyObject*) noexcept { return boolean(true).release(); }

PyObject* get_write_buffer_size(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    transport_of(self).send_kept_first();
    return py_check(PyLong_FromSize_t(transport_of(self).queue().size()));
  });
}

PyObject* get_extra_info(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    PyObject *name, *otherwise = Py_None;
    parse_arguments(args, kwargs, "O|O", {"name", "default"}, &name, &otherwise);
    // The caller may send by the socket.
    if (PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, "socket") == 0)
      transport_of(self).send_kept_first();
    PyObject* const extra = transport_of(self).extra();
    return py_check(PyObject_CallMethod(extra, "get", "OO", name, otherwise));
  });
}

PyObject* make_empty_waiter(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] { return transport_of(self).make_empty_waiter(); });
}

PyObject* fatal_error(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    PyObject* exception;
    const char* message = "Fatal error on transport";
    parse_arguments(args, kwargs, "O|s", {"exc", "message"}, &exception, &message);
    transport_of(self).fatal_error(exception, message);
  });
}

PyMethodDef methods[] = {
    {"write", call_with<&SocketTransport::write>, METH_O,
     "write($self, data, /)\n--\n\nSends bytes, and keeps those that the kernel does not take yet."},
    {"writelines", call_with<&SocketTransport::writelines>, METH_O,
     "writelines($self, list_of_data, /)\n--\n\nSends several pieces of bytes, together."},
    {"write_eof", call<&SocketTransport::write_eof>, METH_NOARGS,
     "write_eof($self, /)\n--\n\nShuts the sending side down once all data is sent."},
    {"can_write_eof", can_write_eof, METH_NOARGS, "can_write_eof($self, /)\n--\n\nTrue."},
    {"pause_reading", call<&SocketTransport::pause_reading>, METH_NOARGS,
     "pause_reading($self, /)\n--\n\nStops reading until resume_reading()."},
    {"resume_reading", call<&SocketTransport::resume_reading>, METH_NOARGS,
     "resume_reading($self, /)\n--\n\nUndoes pause_reading()."},
    {"is_reading", ask<&SocketTransport::is_reading>, METH_NOARGS,
     "is_reading($self, /)\n--\n\nFalse while paused, and from close() on."},
    {"close", call<&SocketTransport::close>, METH_NOARGS,
     "close($self, /)\n--\n\nStops reading, sends the data that is kept, and closes."},
    {"abort", call<&SocketTransport::abort>, METH_NOARGS,
     "abort($self, /)\n--\n\nCloses without sending the data that is kept."},
    {"is_closing", ask<&SocketTransport::is_closing>, METH_NOARGS,
     "is_closing($self, /)\n--\n\nTrue from close() on."},
    {"set_protocol", call_with<&SocketTransport::set_protocol>, METH_O,
     "set_protocol($self, protocol, /)\n--\n\nSets the protocol whose methods are called from now on."},
    {"get_protocol", get_protocol, METH_NOARGS, "get_protocol($self, /)\n--\n\nThe protocol."},
    {"get_extra_info", as_method(get_extra_info), METH_VARARGS | METH_KEYWORDS,
     "get_extra_info($self, name, default=None)\n--\n\n'socket', 'sockname' or 'peername'."},
    {"get_write_buffer_size", get_write_buffer_size, METH_NOARGS,
     "get_write_buffer_size($self, /)\n--\n\nThe number of bytes that are kept."},
    {"_add_reader", call<&SocketTransport::start_reading>, METH_NOARGS, nullptr},
    {"_read_ready", call<&SocketTransport::read_ready>, METH_NOARGS, nullptr},
    {"_write_ready", call<&SocketTransport::write_ready>, METH_NOARGS, nullptr},
    {"_call_connection_lost", call_with<&SocketTransport::connection_lost>, METH_O, nullptr},
    {"_force_close", call_with<&SocketTransport::force_close>, METH_O, nullptr},
    {"_fatal_error", as_method(fatal_error), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"_maybe_pause_protocol", call<&SocketTransport::maybe_pause_protocol>, METH_NOARGS, nullptr},
    {"_maybe_resume_protocol", call<&SocketTransport::maybe_resume_protocol>, METH_NOARGS, nullptr},
    {"_make_empty_waiter", make_empty_waiter, METH_NOARGS, nullptr},
    {"_reset_empty_waiter", call<&SocketTransport::reset_empty_waiter>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

// --- Fields that asyncio's transports have ----------------------------------------------------

template <PyObject* (SocketTransport::*Read)() const noexcept>
PyObject* read_object(PyObject* self, void*) noexcept {
  PyObject* const object = (transport_of(self).*Read)();
  return PyRef::borrow(object == nullptr ? Py_None : object).release();
}

template <bool (SocketTransport::*Read)() const noexcept>
PyObject* read_flag(PyObject* self, void*) noexcept {
  return PyBool_FromLong((transport_of(self).*Read)());
}

PyObject* read_fd(PyObject* self, void*) noexcept { return PyLong_FromLong(transport_of(self).fd()); }
PyObject* read_conn_lost(PyObject* self, void*) noexcept {
  return PyLong_FromLong(transport_of(self).conn_lost());
}
PyObject* read_buffer(PyObject* self, void*) noexcept {
  return py_boundary([=] {
    transport_of(self).send_kept_first();
    return transport_of(self).queue().joined();
  });
}

// What a setter is given; it cannot be deleted.
PyObject* given_value(PyObject* value) {
  if (value == nullptr) raise(PyExc_AttributeError, "it cannot be deleted");
  return value;
}

// Runs `set` for a setter of an attribute.
template <typename Set>
int set_field(Set set) noexcept {
  return PyRef::steal(py_boundary(set)) ? 0 : -1;
}

template <SocketTransport::Mark SocketTransport::*Which>
PyObject* read_mark(PyObject* self, void*) noexcept {
  return PyRef((transport_of(self).*Which).given).release();
}

template <SocketTransport::Mark SocketTransport::*Which>
int write_mark(PyObject* self, PyObject* value, void*) noexcept {
  return set_field([=] {
    const double compared = as_double(given_value(value));
    transport_of(self).*Which = {PyRef::borrow(value), compared};
  });
}

PyObject* read_max_size(PyObject* self, void*) noexcept {
  return PyLong_FromSize_t(transport_of(self).max_size);
}

int write_max_size(PyObject* self, PyObject* value, void*) noexcept {
  return set_field([=] {
    const Py_ssize_t size = PyLong_AsSsize_t(given_value(value));
    if (size == -1 && PyErr_Occurred()) throw PyError{};
    if (size <= 0) raise(PyExc_ValueError, "max_size must be positive");
    transport_of(self).max_size = static_cast<std::size_t>(size);
  });
}

PyGetSetDef fields[] = {
    {"_loop", read_object<&SocketTransport::loop>, nullptr, nullptr, nullptr},
    {"_sock", read_object<&SocketTransport::sock>, nullptr, nullptr, nullptr},
    {"_protocol", read_object<&SocketTransport::protocol>, nullptr, nullptr, nullptr},
    {"_server", read_object<&SocketTransport::server>, nullptr, nullptr, nullptr},
    {"_extra", read_object<&SocketTransport::extra>, nullptr, nullptr, nullptr},
    {"_empty_waiter", read_object<&SocketTransport::empty_waiter>, nullptr, nullptr, nullptr},
    {"_closing", read_flag<&SocketTransport::is_closing>, nullptr, nullptr, nullptr},
    {"_paused", read_flag<&SocketTransport::is_paused>, nullptr, nullptr, nullptr},
    {"_eof", read_flag<&SocketTransport::has_eof>, nullptr, nullptr, nullptr},
    {"_protocol_paused", read_flag<&SocketTransport::is_protocol_paused>, nullptr, nullptr, nullptr},
    {"_protocol_connected", read_flag<&SocketTransport::is_protocol_connected>, nullptr, nullptr, nullptr},
    {"_sock_fd", read_fd, nullptr, nullptr, nullptr},
    {"_conn_lost", read_conn_lost, nullptr, nullptr, nullptr},
    {"_buffer", read_buffer, nullptr, nullptr, nullptr},
    {"_high_water", read_mark<&SocketTransport::high_water>, write_mark<&SocketTransport::high_water>,
     nullptr, nullptr},
    {"_low_water", read_mark<&SocketTransport::low_water>, write_mark<&SocketTransport::low_water>, nullptr,
     nullptr},
    {"max_size", read_max_size, write_max_size, "The most bytes that one read takes.", nullptr},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

// --- The object -------------------------------------------------------------------------------

PyRef shown_state(PyObject* self) {
  SocketTransport& transport = transport_of(self);
  const char* const life = transport.sock() == nullptr ? " closed" : transport.is_closing() ? " closing" : "";
  if (transport.loop() == nullptr || loop_of(transport.loop()).is_closed()) {
    return py_check(PyUnicode_FromFormat("<_SocketTransport%s fd=%d>", life, transport.fd()));
  }
  const auto state = [&](int event) { return transport.is_watched_for(event) ? "polling" : "idle"; };
  return py_check(PyUnicode_FromFormat("<_SocketTransport%s fd=%d read=%s write=<%s, bufsize=%zu>>", life,
                                       transport.fd(), state(EV_READ), state(EV_WRITE),
                                       transport.queue().size()));
}

PyObject* represent(PyObject* self) noexcept {
  return py_boundary([=] { return shown_state(self); });
}

void finalise(PyObject* self) noexcept { transport_of(self).finalise(); }

void deallocate(PyObject* self) noexcept {
  if (PyObject_CallFinalizerFromDealloc(self) < 0) return;  // Somebody has it again.
  PyObject_GC_UnTrack(self);
  if (object_of(self).weak_references != nullptr) PyObject_ClearWeakRefs(self);
  PyRef::steal(std::exchange(object_of(self).dict, nullptr));
  transport_of(self).~SocketTransport();
  const PyRef owned_type = PyRef::steal(reinterpret_cast<PyObject*>(Py_TYPE(self)));
  PyObject_GC_Del(self);
}

int traverse(PyObject* self, visitproc visit, void* arg) noexcept {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(object_of(self).dict);
  return transport_of(self).traverse(visit, arg);
}

int clear(PyObject* self) noexcept {
  PyRef::steal(std::exchange(object_of(self).dict, nullptr));
  transport_of(self).clear();
  return 0;
}

PyRef allocate() {
  static PyObject* const high = py_check(PyLong_FromLong(64 * 1024)).release();
  static PyObject* const low = py_check(PyLong_FromLong(16 * 1024)).release();
  auto* const object = PyObject_GC_New(TransportObject, type_);
  if (object == nullptr) throw PyError{};
  auto* const self = reinterpret_cast<PyObject*>(object);
  for (void*& slot : object->inherited) slot = nullptr;
  object->dict = nullptr;
  object->weak_references = nullptr;
  new (&object->transport) SocketTransport(self);
  object->transport.high_water = {PyRef::borrow(high), 64 * 1024};
  object->transport.low_water = {PyRef::borrow(low), 16 * 1024};
  PyObject_GC_Track(self);
  PyRef owned = PyRef::steal(self);
#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030C0000
  // CPython 3.11 looks methods up slowly (LOAD_METHOD without a cache) on objects whose dict is to be made
  // yet.
  object->dict = py_check(PyDict_New()).release();
#endif
  return owned;
}

// Only a loop makes transports: asyncio's constructor would find nothing that it knows.
PyObject* refuse_new(PyTypeObject*, PyObject*, PyObject*) noexcept {
  PyErr_SetString(PyExc_TypeError, "only an event loop can make its transports");
  return nullptr;
}

PyMemberDef offsets[] = {
#if PY_VERSION_HEX >= 0x03090000
    {"__dictoffset__", T_PYSSIZET, offsetof(TransportHead, dict), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(TransportHead, weak_references), READONLY, nullptr},
#endif
    {nullptr, 0, 0, 0, nullptr},
};

PyTypeObject* make_type() {
  const AsyncioNames& names = asyncio_names();
  const auto* base = reinterpret_cast<PyTypeObject*>(names.flow_control);
  if (base->tp_basicsize > static_cast<Py_ssize_t>(offsetof(TransportHead, dict))) {
    raise(PyExc_ImportError, "uwsgi_tornado: %s of this Python has more fields than the engine knows",
          base->tp_name);
  }
  PyType_Slot slots[] = {
      {Py_tp_new, reinterpret_cast<void*>(refuse_new)},
      {Py_tp_dealloc, reinterpret_cast<void*>(deallocate)},
      {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
      {Py_tp_clear, reinterpret_cast<void*>(clear)},
      {Py_tp_finalize, reinterpret_cast<void*>(finalise)},
      {Py_tp_repr, reinterpret_cast<void*>(represent)},
      {Py_tp_methods, methods},
      {Py_tp_getset, fields},
      {Py_tp_members, offsets},
      {Py_tp_doc, const_cast<char*>("The transport of a stream socket, TCP or unix.")},
      {0, nullptr},
  };
  PyType_Spec spec = {"uwsgi_tornado._SocketTransport", sizeof(TransportObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_FINALIZE, slots};
  const PyRef bases = py_check(PyTuple_Pack(1, names.flow_control));
  const PyRef made = py_check(PyType_FromSpecWithBases(&spec, bases.get()));
#if PY_VERSION_HEX < 0x03090000  // Which knows no members for these.
  reinterpret_cast<PyTypeObject*>(made.get())->tp_dictoffset = offsetof(TransportHead, dict);
  reinterpret_cast<PyTypeObject*>(made.get())->tp_weaklistoffset = offsetof(TransportHead, weak_references);
#endif
  // asyncio looks at these before start_tls() and sendfile().
  py_check_status(PyObject_SetAttrString(made.get(), "_start_tls_compatible", Py_True));
  const PyRef modes = imported("asyncio.constants", "_SendfileMode");
  const PyRef native = py_check(PyObject_GetAttrString(modes.get(), "TRY_NATIVE"));
  py_check_status(PyObject_SetAttrString(made.get(), "_sendfile_compatible", native.get()));
  return reinterpret_cast<PyTypeObject*>(PyRef(made).release());
}

// --- What loops call --------------------------------------------------------------------------

// As asyncio from 3.12 on.
void check_unused(PyObject* loop, PyObject* sock) {
#if PY_VERSION_HEX >= 0x030C0000
  py_check(PyObject_CallMethod(loop, "_ensure_fd_no_transport", "O", sock));
#else
  (void)loop, (void)sock;
#endif
}

PyObject* none_to_null(PyObject* object) noexcept { return object == Py_None ? nullptr : object; }

PyRef make_transport(PyObject* loop, PyObject* sock, const SocketTransport::Options& options) {
  check_unused(loop, sock);
  PyRef made = allocate();
  transport_of(made.get()).open(loop, sock, options);
  return made;
}

// asyncio's own, for what only looks like a socket.
PyRef ask_asyncio(const char* method, PyObject* loop, PyObject* args, PyObject* kwargs) {
  const PyRef function = py_check(PyObject_GetAttrString(asyncio_names().base_loop, method));
  const PyRef bound = py_check(PyMethod_New(function.get(), loop));
  return py_check(PyObject_Call(bound.get(), args, kwargs));
}

PyObject* first_of(PyObject* args) noexcept {
  return PyTuple_GET_SIZE(args) > 0 ? PyTuple_GET_ITEM(args, 0) : Py_None;
}

// Takes an entry out of the options; None where there is none.
PyRef take_option(PyObject* options, const char* name) {
  PyRef value = PyRef::borrow(PyDict_GetItemString(options, name));
  if (!value) return none();
  py_check_status(PyDict_DelItemString(options, name));
  return value;
}

// args: the socket, then what SSLProtocol takes after the loop.
PyRef make_tls_transport(PyObject* loop, PyObject* args, PyObject* kwargs) {
  const PyRef options = py_check(kwargs == nullptr ? PyDict_New() : PyDict_Copy(kwargs));
  const PyRef extra = take_option(options.get(), "extra"), server = take_option(options.get(), "server");
  if (PyTuple_GET_SIZE(args) < 4 && PyDict_GetItemString(options.get(), "waiter") == nullptr) {
    py_check_status(PyDict_SetItemString(options.get(), "waiter", Py_None));
  }
  const PyRef protocol_args = py_check(PySequence_List(args));
  py_check_status(PyList_SetItem(protocol_args.get(), 0, PyRef::borrow(loop).release()));
  const PyRef protocol = py_check(PyObject_Call(
      tls_protocol_type(loop).get(), py_check(PyList_AsTuple(protocol_args.get())).get(), options.get()));
  make_transport(loop, first_of(args),
                 {protocol.get(), nullptr, none_to_null(extra.get()), none_to_null(server.get())});
  return py_check(PyObject_GetAttrString(protocol.get(), "_app_transport"));
}

}  // namespace

void need_socket_transport_type() {
  if (type_ == nullptr) type_ = make_type();
}

SocketTransport* SocketTransport::of(PyObject* object) noexcept {
  if (Py_TYPE(object) != type_) return nullptr;
  PyObject* const own = object_of(object).dict;
  return own == nullptr || PyDict_GET_SIZE(own) == 0 ? &transport_of(object) : nullptr;
}

PyObject* make_socket_transport(PyObject* loop, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    if (!SocketTransport::can_take(first_of(args)))
      return ask_asyncio("_make_socket_transport", loop, args, kwargs);
    PyObject *sock, *protocol, *waiter = Py_None, *extra = Py_None, *server = Py_None;
    parse_arguments(args, kwargs, "OO|O$OO", {"sock", "protocol", "waiter", "extra", "server"}, &sock,
                    &protocol, &waiter, &extra, &server);
    return make_transport(loop, sock,
                          {protocol, none_to_null(waiter), none_to_null(extra), none_to_null(server)});
  });
}

PyObject* make_ssl_transport(PyObject* loop, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    if (PyTuple_GET_SIZE(args) < 3 || !SocketTransport::can_take(first_of(args)))
      return ask_asyncio("_make_ssl_transport", loop, args, kwargs);
    return make_tls_transport(loop, args, kwargs);
  });
}

}  // namespace python
