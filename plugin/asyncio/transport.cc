#include "plugin/asyncio/transport.h"

#include <algorithm>
#include <cerrno>
#include <vector>

#include "plugin/asyncio/socket_fields.h"
#include "plugin/asyncio/stream_feed.h"
#include "plugin/asyncio/tls_protocol.h"
#include "plugin/asyncio/transport_names.h"
#include "plugin/python/except_clause.h"

namespace python {
namespace {

int number_in(PyObject* sock) noexcept { return SocketFields::of(sock).fd; }

// asyncio.Server knows its transports from 3.13 on; before it counted them.
void tell_server(PyObject* server, const char* method, PyObject* transport) {
#if PY_VERSION_HEX >= 0x030D0000
  py_check(PyObject_CallMethod(server, method, "O", transport));
#else
  (void)transport;
  py_check(PyObject_CallMethod(server, method, nullptr));
#endif
}

// What the method says; None where it raises OSError.
PyRef address_of(PyObject* sock, const char* method) {
  PyRef address = PyRef::steal(PyObject_CallMethod(sock, method, nullptr));
  if (address) return address;
  if (!PyErr_ExceptionMatches(PyExc_OSError)) throw PyError{};
  PyErr_Clear();
  return none();
}

}  // namespace

// What is pending is fatal for this transport. Exits are the loop's.
bool SocketTransport::fail(const char* message) {
  if (is_exit_pending()) throw PyError{};
  const PyRef exception = take_exception();
  const ExceptClause handled(exception);
  fatal_error(exception.get(), message);
  end_empty_waiter("set_exception", exception.get());
  return false;
}

SocketTransport::SocketTransport(PyObject* self) noexcept
    : self_(self), next_(first_), previous_link_(&first_) {
  if (next_ != nullptr) next_->previous_link_ = &next_;
  first_ = this;
  ++live_socket_transports;
}

SocketTransport::~SocketTransport() {
  if (next_ != nullptr) next_->previous_link_ = previous_link_;
  *previous_link_ = next_;
  --live_socket_transports;
}

// --- Beginning ------------------------------------------------------------------------------

bool SocketTransport::can_take(PyObject* sock) {
  return reinterpret_cast<PyObject*>(Py_TYPE(sock)) == asyncio_names().socket && know_socket_fields() &&
         number_in(sock) >= 0;
}

void SocketTransport::describe_socket() {
  const PyRef shown =
      py_check(PyObject_CallFunctionObjArgs(asyncio_names().transport_socket, sock_.get(), nullptr));
  py_check_status(PyMapping_SetItemString(extra_.get(), "socket", shown.get()));
  py_check_status(
      PyMapping_SetItemString(extra_.get(), "sockname", address_of(sock_.get(), "getsockname").get()));
  if (PyMapping_HasKeyString(extra_.get(), "peername")) return;
  py_check_status(
      PyMapping_SetItemString(extra_.get(), "peername", address_of(sock_.get(), "getpeername").get()));
}

void SocketTransport::open(PyObject* loop, PyObject* sock, const Options& options) {
  const AsyncioNames& asyncio = asyncio_names();
  core_ = EventLoop::of(loop);
  loop_ = PyRef::borrow(loop);
  extra_ = options.extra != nullptr ? PyRef::borrow(options.extra) : py_check(PyDict_New());
  sock_ = PyRef::borrow(sock);
  fd_ = number_in(sock);
  describe_socket();
  set_protocol(options.protocol);
  if (options.server != nullptr) {
    tell_server(options.server, "_attach", self_);
    server_ = PyRef::borrow(options.server);
  }
  const PyRef transports = py_check(PyObject_GetAttrString(loop, "_transports"));
  py_check_status(PyObject_SetItem(transports.get(), py_check(PyLong_FromLong(fd_)).get(), self_));
  py_check(PyObject_CallMethod(asyncio.base_events, "_set_nodelay", "O", sock));

  const PyRef made = py_check(PyObject_GetAttr(options.protocol, transport_names().connection_made));
  core().call_soon({made.get(), &self_, 1, nullptr});
  const PyRef start = py_check(PyObject_GetAttr(self_, transport_names().add_reader));
  core().call_soon({start.get(), nullptr, 0, nullptr});
  if (options.waiter == nullptr) return;
  PyObject* const waiter_and_result[] = {options.waiter, Py_None};
  core().call_soon({asyncio.set_result_unless_cancelled, waiter_and_result, 2, nullptr});
}

void SocketTransport::set_protocol(PyObject* protocol) {
  buffered_ = is_instance(protocol, asyncio_names().buffered_protocol);
  feeds_stream_ = is_plain_stream(protocol);
  is_below_tls_ = is_tls_protocol(protocol);
  const PyRef before = std::exchange(protocol_, PyRef::borrow(protocol));
  protocol_connected_ = true;
}

// --- Watching -------------------------------------------------------------------------------

void SocketTransport::watch(int event, PyObject* method) {
  core().check_closed();
  const PyRef callback = py_check(PyObject_GetAttr(self_, method));
  const PyRef handle =
      core().fds().add(event, py_check(PyLong_FromLong(fd_)).get(), {callback.get(), nullptr, 0, nullptr});
  if (event == EV_READ) as_handle(handle.get())->state.taker = this;
}

void SocketTransport::unwatch(int event) {
  if (!core().is_closed()) core().fds().remove(event, py_check(PyLong_FromLong(fd_)).get());
}

bool SocketTransport::is_watched_for(int event) {
  const PyRef key = core().fds().key(py_check(PyLong_FromLong(fd_)).get());
  if (!key) return false;
  const PyRef events = py_check(PyObject_GetAttrString(key.get(), "events"));
  return (PyLong_AsLong(events.get()) & event) != 0;
}

void SocketTransport::call_soon(PyObject* method, PyObject* argument) {
  const PyRef callback = py_check(PyObject_GetAttr(self_, method));
  core().call_soon({callback.get(), &argument, 1, nullptr});
}

int SocketTransport::descriptor() const {
  if (!sock_ || number_in(sock_.get()) != fd_) raise_errno(EBADF);
  return fd_;
}

// --- sendfile -------------------------------------------------------------------------------

PyRef SocketTransport::make_empty_waiter() {
  send_kept_first();
  if (empty_waiter_) raise(PyExc_RuntimeError, "Empty waiter is already set");
  if (!loop_) raise(PyExc_RuntimeError, "the transport is closed");
  empty_waiter_ = py_check(PyObject_CallMethod(loop_.get(), "create_future", nullptr));
  if (queue_.empty()) end_empty_waiter("set_result", Py_None);
  return empty_waiter_;
}

// The waiter may have given up, or may be done already.
void SocketTransport::end_empty_waiter(const char* method, PyObject* argument) {
  if (!empty_waiter_) return;
  const PyRef waiter = empty_waiter_;
  if (is_true(py_check(PyObject_CallMethod(waiter.get(), "done", nullptr)))) return;
  py_check(PyObject_CallMethod(waiter.get(), method, "O", argument));
}

// --- The end --------------------------------------------------------------------------------

void SocketTransport::close() {
  send_kept_first();
  if (closing_) return;
  closing_ = true;
  unwatch(EV_READ);
  if (!queue_.empty()) return;
  ++conn_lost_;
  unwatch(EV_WRITE);
  call_soon(transport_names().call_connection_lost, Py_None);
}

void SocketTransport::force_close(PyObject* exception) {
  send_kept_first();
  if (conn_lost_ != 0) return;
  if (!queue_.empty()) {
    queue_.clear();
    unwatch(EV_WRITE);
  }
  if (!closing_) {
    closing_ = true;
    unwatch(EV_READ);
  }
  ++conn_lost_;
  call_soon(transport_names().call_connection_lost, exception);
}

void SocketTransport::fatal_error(PyObject* exception, const char* message) {
  if (!is_instance(exception, PyExc_OSError)) {
    report(exception, message);
  } else if (debug()) {
    const PyRef logging = py_check(PyObject_GetAttrString(asyncio_names().logger, "debug"));
    const PyRef said = py_check(Py_BuildValue("(sOs)", "%r: %s", self_, message));
    call_with_option(logging.get(), said, "exc_info", exception);
  }
  force_close(exception);
}

// To the loop's exception handler.
void SocketTransport::report(PyObject* exception, const char* message) {
  if (!loop_) return;
  const PyRef loop = loop_;
  const PyRef context =
      py_check(Py_BuildValue("{s:s,s:O,s:O,s:O}", "message", message, "exception", exception, "transport",
                             self_, "protocol", protocol_ ? protocol_.get() : Py_None));
  py_check(PyObject_CallMethod(loop.get(), "call_exception_handler", "O", context.get()));
}

// The socket is closed whatever the protocol raises.
void SocketTransport::connection_lost(PyObject* exception) {
  if (!sock_) return;
  conn_lost_ = std::max(conn_lost_, 1L);
  closing_ = true;
  const PyRef protocol = protocol_;
  ErrorState error;
  try {
    if (protocol_connected_) call_method(protocol.get(), transport_names().connection_lost, exception);
  } catch (const PyError&) {
    error.fetch();
  }
  release_socket();
  error.restore();
  if (PyErr_Occurred()) throw PyError{};
  if (!empty_waiter_) return;
  const PyRef closed =
      py_check(PyObject_CallFunction(PyExc_ConnectionError, "s", "Connection is closed by peer"));
  end_empty_waiter("set_exception", closed.get());
}

void SocketTransport::release_socket() {
  const PyRef sock = std::move(sock_), protocol = std::move(protocol_), server = std::move(server_);
  const PyRef loop = std::move(loop_);
  unlink();
  only_ = {};
  queue_.clear();
  ErrorState error;
  if (!PyRef::steal(PyObject_CallMethod(sock.get(), "close", nullptr))) error.fetch();
  if (server) tell_server(server.get(), "_detach", self_);
  error.restore();
  if (PyErr_Occurred()) throw PyError{};
}

// --- Memory ---------------------------------------------------------------------------------

void SocketTransport::finalise() noexcept {
  if (!sock_) return;
  const ErrorAside error;
  try {
    send_kept_first();
  } catch (const PyError&) {
    PyErr_WriteUnraisable(self_);
  }
  if (PyErr_ResourceWarning(self_, 1, "unclosed transport %R", self_) < 0) PyErr_WriteUnraisable(self_);
  drop_socket();
}

void SocketTransport::drop_socket() noexcept {
  if (!sock_) return;
  closing_ = true;
  conn_lost_ = std::max(conn_lost_, 1L);
  try {
    release_socket();
  } catch (const PyError&) {
    PyErr_WriteUnraisable(self_);
  }
}

void SocketTransport::drop_all_of(PyObject* loop) noexcept {
  std::vector<std::pair<SocketTransport*, PyRef>> all;  // What one of them drops may be another.
  for (SocketTransport* transport = first_; transport != nullptr; transport = transport->next_) {
    if (transport->loop_ && transport->loop() != loop) continue;
    all.emplace_back(transport, PyRef::borrow(transport->self_));
  }
  for (const auto& [transport, object] : all) {
    transport->drop_socket();
    transport->clear();
  }
}

int SocketTransport::traverse(visitproc visit, void* arg) const noexcept {
  for (const PyRef* held :
       {&loop_, &sock_, &protocol_, &server_, &extra_, &empty_waiter_, &high_water.given, &low_water.given}) {
    Py_VISIT(held->get());
  }
  return 0;
}

void SocketTransport::clear() noexcept {
  unlink();
  only_ = {};
  closing_ = true;
  conn_lost_ = std::max(conn_lost_, 1L);
  for (PyRef* held :
       {&loop_, &sock_, &protocol_, &server_, &extra_, &empty_waiter_, &high_water.given, &low_water.given}) {
    const PyRef dropped = std::move(*held);
  }
}

}  // namespace python
