#include "plugin/asyncio/datagram_transport.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/derived_type.h"
#include "plugin/asyncio/event_loop.h"
#include "plugin/asyncio/socket_fields.h"
#include "plugin/asyncio/transport_names.h"
#include "plugin/python/except_clause.h"

namespace python {
namespace {

// asyncio reads one; where many are there a poll for each would cost as much as the read. Others have their
// turn after so many.
constexpr int kReadAtOnceMost = 16;
constexpr std::size_t kLargest = 65536;  // No UDP datagram has more.

// Attributes of asyncio's transport, borrowed: they live as long as the process.
struct DatagramNames {
  PyObject* conn_lost = TransportNames::interned("_conn_lost");
  PyObject* sock = TransportNames::interned("_sock");
  PyObject* protocol = TransportNames::interned("_protocol");
  PyObject* address = TransportNames::interned("_address");
  PyObject* buffer = TransportNames::interned("_buffer");
  PyObject* extra = TransportNames::interned("_extra");
  PyObject* peername = TransportNames::interned("peername");
  PyObject* loop = TransportNames::interned("_loop");
  PyObject* max_size = TransportNames::interned("max_size");
  PyObject* read_ready = TransportNames::interned("_read_ready");
  PyObject* sendto = TransportNames::interned("sendto");
  PyObject* datagram_received = TransportNames::interned("datagram_received");
  PyObject* error_received = TransportNames::interned("error_received");
};

const DatagramNames& names() {
  static const DatagramNames names;
  return names;
}

PyObject* asyncios = nullptr;  // asyncio.selector_events._SelectorDatagramTransport

bool is_udp(PyObject* sock) {
  if (!is_plain_socket(sock)) return false;
  const int family = SocketFields::of(sock).family;
  return family == AF_INET || family == AF_INET6;
}

// --- Addresses ------------------------------------------------------------------------------

union Address {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

// As the socket module tells it.
PyRef shown(const Address& address) {
  char text[INET6_ADDRSTRLEN];
  if (address.any.sa_family == AF_INET) {
    inet_ntop(AF_INET, &address.v4.sin_addr, text, sizeof text);
    return py_check(Py_BuildValue("(si)", text, ntohs(address.v4.sin_port)));
  }
  inet_ntop(AF_INET6, &address.v6.sin6_addr, text, sizeof text);
  return py_check(Py_BuildValue("(siII)", text, ntohs(address.v6.sin6_port), ntohl(address.v6.sin6_flowinfo),
                                address.v6.sin6_scope_id));
}

// The number that is item `place` of an address, at most `most`; -1 for anything else.
long number_in(PyObject* address, Py_ssize_t place, long most) {
  PyObject* const number = PyTuple_GET_ITEM(address, place);
  const long value = PyLong_CheckExact(number) ? PyLong_AsLong(number) : -1;
  if (value == -1 && PyErr_Occurred()) PyErr_Clear();
  return value <= most ? value : -1;
}

// The size of what has been filled in; 0 for what the socket module must look at.
socklen_t fill_in(Address& address, int family, PyObject* given) {
  const Py_ssize_t size = PyTuple_CheckExact(given) ? PyTuple_GET_SIZE(given) : 0;
  if (size != 2 && (size != 4 || family != AF_INET6)) return 0;
  PyObject* const host = PyTuple_GET_ITEM(given, 0);
  const char* const text = PyUnicode_CheckExact(host) ? PyUnicode_AsUTF8(host) : nullptr;
  const long port = number_in(given, 1, 65535);
  if (text == nullptr) PyErr_Clear();
  if (text == nullptr || port < 0) return 0;
  if (family == AF_INET) {
    address.v4 = {AF_INET, htons(static_cast<std::uint16_t>(port)), {}, {}};
    return inet_pton(AF_INET, text, &address.v4.sin_addr) == 1 ? sizeof address.v4 : 0;
  }
  const long flow = size == 4 ? number_in(given, 2, 0xfffff) : 0;
  const long scope = size == 4 ? number_in(given, 3, 0xffffffff) : 0;
  if (flow < 0 || scope < 0) return 0;
  address.v6 = {AF_INET6,
                htons(static_cast<std::uint16_t>(port)),
                htonl(static_cast<std::uint32_t>(flow)),
                {},
                static_cast<std::uint32_t>(scope)};
  return inet_pton(AF_INET6, text, &address.v6.sin6_addr) == 1 ? sizeof address.v6 : 0;
}

// --- Receiving ------------------------------------------------------------------------------

// Tells the protocol of the OSError that is `error`.
void tell_error(PyObject* self, int error) {
  PyRef exception;
  try {
    raise_errno(error);
  } catch (const PyError&) {
    exception = take_exception();
  }
  const ExceptClause handled(exception);
  call_method(attribute(self, names().protocol).get(), names().error_received, exception.get());
}

// False where none is there.
bool read_one(PyObject* self, int fd, std::size_t most) {
  static char datagram[kLargest];  // The GIL protects it.
  Address from;
  from.any.sa_family = AF_UNSPEC;
  socklen_t size = sizeof from;
  const ssize_t got = recvfrom(fd, datagram, std::min(most, sizeof datagram), MSG_DONTWAIT, &from.any, &size);
  if (got < 0) {
    if (!is_for_later(errno)) tell_error(self, errno);
    return false;
  }
  const PyRef data = py_check(PyBytes_FromStringAndSize(datagram, got)), address = shown(from);
  const PyRef protocol = attribute(self, names().protocol);
  py_check(PyObject_CallMethodObjArgs(protocol.get(), names().datagram_received, data.get(), address.get(),
                                      nullptr));
  return true;
}

std::size_t largest(PyObject* self) {
  const PyRef most = attribute(self, names().max_size);
  const Py_ssize_t size = PyLong_AsSsize_t(most.get());
  if (size < 0 && PyErr_Occurred()) throw PyError{};
  return static_cast<std::size_t>(std::max<Py_ssize_t>(size, 0));
}

// Whether the loop still calls this transport, which its protocol may have closed or stopped.
bool is_read(PyObject* self, EventLoop& loop, PyObject* sock, int fd) {
  return SocketFields::of(sock).fd == fd && !loop.is_closed() && !loop.stopping() &&
         loop.fds().has(EV_READ, fd) && !is_true(attribute(self, names().conn_lost));
}

PyRef read_ready(PyObject* self) {
  if (is_true(attribute(self, names().conn_lost))) return none();
  const PyRef sock = attribute(self, names().sock);
  if (!is_udp(sock.get())) return call_method(asyncios, names().read_ready, self);
  const PyRef loop = attribute(self, names().loop);
  EventLoop& core = *EventLoop::of(loop.get());
  const int fd = SocketFields::of(sock.get()).fd;
  const std::size_t most = largest(self);
  for (int read = 0; read < kReadAtOnceMost; ++read) {
    if (!read_one(self, fd, most) || !is_read(self, core, sock.get(), fd)) break;
  }
  return none();
}

// --- Sending --------------------------------------------------------------------------------

bool has_bytes(PyObject* data) noexcept {
  return PyBytes_CheckExact(data) ? PyBytes_GET_SIZE(data) > 0
                                  : PyByteArray_CheckExact(data) && PyByteArray_GET_SIZE(data) > 0;
}

// Where it sends to; false where asyncio must look. `size` is 0 for a socket that is connected.
bool know_receiver(PyObject* self, int family, PyObject* given, Address& to, socklen_t& size) {
  const PyRef extra = attribute(self, names().extra);
  const PyRef peer =
      PyRef::borrow(PyDict_CheckExact(extra.get()) ? PyDict_GetItem(extra.get(), names().peername) : nullptr);
  size = 0;
  if (peer && is_true(peer)) return given == Py_None;
  if (is_true(attribute(self, names().address))) return false;
  size = fill_in(to, family, given);
  return size > 0;
}

// False where nothing has been done.
bool send_now(PyObject* self, PyObject* data, PyObject* given) {
  if (!has_bytes(data) || is_true(attribute(self, names().conn_lost)) ||
      is_true(attribute(self, names().buffer))) {
    return false;
  }
  const PyRef sock = attribute(self, names().sock);
  Address to;
  socklen_t size;
  if (!is_udp(sock.get()) || !know_receiver(self, SocketFields::of(sock.get()).family, given, to, size))
    return false;
  if (size > 0) py_check_status(PySys_Audit("socket.sendto", "OO", sock.get(), given));
  const bool bytes = PyBytes_CheckExact(data);
  const char* const from = bytes ? PyBytes_AS_STRING(data) : PyByteArray_AS_STRING(data);
  const auto count = static_cast<std::size_t>(bytes ? PyBytes_GET_SIZE(data) : PyByteArray_GET_SIZE(data));
  const ssize_t sent = sendto(SocketFields::of(sock.get()).fd, from, count, MSG_DONTWAIT | MSG_NOSIGNAL,
                              size > 0 ? &to.any : nullptr, size);
  if (sent >= 0) return true;
  if (is_for_later(errno)) return false;
  tell_error(self, errno);
  return true;
}

PyRef send_to(PyObject* self, PyObject* args, PyObject* kwargs) {
  const Py_ssize_t count = PyTuple_GET_SIZE(args);
  if (kwargs == nullptr && (count == 1 || count == 2)) {
    PyObject* const given = count == 2 ? PyTuple_GET_ITEM(args, 1) : Py_None;
    if (send_now(self, PyTuple_GET_ITEM(args, 0), given)) return none();
  }
  const PyRef bound = py_check(PyMethod_New(attribute(asyncios, names().sendto).get(), self));
  return py_check(PyObject_Call(bound.get(), args, kwargs));
}

// --- The type -------------------------------------------------------------------------------

PyObject* read_ready_method(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] { return read_ready(self); });
}

PyObject* sendto_method(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] { return send_to(self, args, kwargs); });
}

PyMethodDef methods[] = {
    {"_read_ready", read_ready_method, METH_NOARGS, nullptr},
    {"sendto", as_method(sendto_method), METH_VARARGS | METH_KEYWORDS,
     "sendto($self, data, addr=None)\n--\n\nSends a datagram; one that the kernel does not take yet is "
     "kept."},
    {nullptr, nullptr, 0, nullptr},
};

PyObject* make_type() {
  asyncios = imported("asyncio.selector_events", "_SelectorDatagramTransport").release();
  return derived_type(asyncios, "_DatagramTransport", "The transport of a UDP socket.", methods).release();
}

}  // namespace

PyObject* make_datagram_transport(PyObject* loop, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    static PyObject* type = nullptr;
    if (type == nullptr) type = make_type();
    const bool udp = PyTuple_GET_SIZE(args) > 0 && is_udp(PyTuple_GET_ITEM(args, 0));
    return call_with_first(udp ? type : asyncios, loop, args, kwargs);
  });
}

}  // namespace python
