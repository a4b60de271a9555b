// Reading and writing.
#include "plugin/asyncio/tls_protocol.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "plugin/asyncio/stream_feed.h"
#include "plugin/asyncio/tls_library.h"
#include "plugin/asyncio/tls_methods.h"
#include "plugin/asyncio/tls_state.h"
#include "plugin/asyncio/transport.h"
#include "plugin/asyncio/transport_names.h"
#include "plugin/python/except_clause.h"

namespace python {
namespace {

// More than this has arrived: likely with more of a record whose start has been taken before.
constexpr std::size_t kMuch = 4096;
constexpr std::size_t kRecordMost = 16384;

// The parts of a connection that has shaken hands, whatever the protocol is given meanwhile.
struct Peer {
  MemoryBio incoming;
  TlsConnection connection;

  // Whether read() can give something. OpenSSL takes from the BIO what it needs for the record that it
  // decrypts, no more, and keeps that record until it is read: Python does not let anybody set
  // SSL_set_read_ahead(). So read() could only say that it wants more where both are empty, which costs an
  // exception.
  bool has_more() const { return has_arrived() || connection.pending() > 0; }
  // The same after a read() that gave less than it was asked for, and so the rest of a record.
  bool has_arrived() const { return incoming.pending() > 0; }
};

// Runs `step` as asyncio does, whose `except Exception` ends the connection.
template <typename Step>
void try_or_fail(PyObject* self, Step step) {
  try {
    return step();
  } catch (const PyError&) {
    if (!PyErr_ExceptionMatches(PyExc_Exception)) throw;
  }
  static PyObject* const message = TransportNames::interned("Fatal error on SSL protocol");
  const PyRef exception = take_exception();
  const ExceptClause handled(exception);
  py_check(PyObject_CallMethodObjArgs(self, tls_methods().fatal_error, exception.get(), message, nullptr));
}

// --- Flow control -----------------------------------------------------------------------------

// Whether `size` changes what is paused; asyncio's method does it.
bool is_to_change(const TlsState& tls, std::size_t size, TlsField paused, TlsField high, TlsField low) {
  const auto compared = static_cast<double>(size);
  return tls.is(paused) ? compared <= tls.number(low) : compared >= tls.number(high);
}

void control_app_writing(PyObject* self, const MemoryBio& outgoing) {
  const TlsState tls(self);
  const std::size_t size =
      outgoing.pending() + static_cast<std::size_t>(tls.number(TlsField::kWriteBufferSize));
  if (is_to_change(tls, size, TlsField::kAppWritingPaused, TlsField::kOutgoingHighWater,
                   TlsField::kOutgoingLowWater))
    call_method(self, tls_methods().control_app_writing);
}

void control_ssl_reading(PyObject* self, const MemoryBio& incoming) {
  if (is_to_change(TlsState(self), incoming.pending(), TlsField::kSslReadingPaused,
                   TlsField::kIncomingHighWater, TlsField::kIncomingLowWater)) {
    call_method(self, tls_methods().control_ssl_reading);
  }
}

// --- Writing ----------------------------------------------------------------------------------

void send(PyObject* transport, const PyRef& data) {
  if (SocketTransport* const socket = SocketTransport::of(transport)) socket->write(data.get());
  else call_method(transport, transport_names().write, data.get());
}

Py_ssize_t backlog_size(const TlsState& tls) {
  const Py_ssize_t size = PyObject_Size(tls.get(TlsField::kWriteBacklog).get());
  if (size < 0) throw PyError{};
  return size;
}

// Keeps what OpenSSL does not take, for asyncio's _do_write().
void keep(PyObject* self, PyObject* data) {
  const TlsState tls(self);
  call_method(tls.get(TlsField::kWriteBacklog).get(), tls_methods().append, data);
  const PyRef more = py_check(PyLong_FromSsize_t(PyObject_Size(data)));
  tls.set(TlsField::kWriteBufferSize,
          py_check(PyNumber_Add(tls.get(TlsField::kWriteBufferSize).get(), more.get())));
}

void encrypt(PyObject* self, const TlsConnection& connection, PyObject* data) {
  Py_ssize_t done = -1;
  try {
    done = connection.write(data);
  } catch (const PyError&) {
    ErrorAside error;
    keep(self, data);
    throw;
  }
  const Py_ssize_t size = PyObject_Size(data);
  if (done < 0) keep(self, data);
  else if (done < size) keep(self, py_check(PySequence_GetSlice(data, done, size)).get());
}

// Whether len() is the number of bytes, and not 0. A memoryview that was released has no length: asyncio's
// method raises for it.
bool is_plain_data(PyObject* data) noexcept {
  if (PyBytes_CheckExact(data)) return PyBytes_GET_SIZE(data) > 0;
  if (PyByteArray_CheckExact(data)) return PyByteArray_GET_SIZE(data) > 0;
  if (!PyMemoryView_Check(data)) return false;
  const Py_ssize_t length = PyObject_Size(data);
  if (length < 0) PyErr_Clear();
  const Py_buffer& view = *PyMemoryView_GET_BUFFER(data);
  return length > 0 && view.ndim == 1 && view.itemsize == 1;
}

// One object with `count` pieces, which have `size` bytes.
PyRef joined(PyObject* const* pieces, std::size_t count, std::size_t size) {
  PyRef all = py_check(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size)));
  char* to = PyBytes_AS_STRING(all.get());
  for (std::size_t i = 0; i < count; ++i) {
    Py_buffer view;
    py_check_status(PyObject_GetBuffer(pieces[i], &view, PyBUF_SIMPLE));
    assert(to + view.len <= PyBytes_AS_STRING(all.get()) + size);
    std::memcpy(to, view.buf, static_cast<std::size_t>(view.len));
    to += view.len;
    PyBuffer_Release(&view);
  }
  return all;
}

// What to encrypt at once: a large piece, or small ones that have room in one record.
std::vector<PyRef> records_of(PyObject* const* pieces, std::size_t count) {
  std::vector<PyRef> records;
  const auto size_of = [&](std::size_t i) {
    const Py_ssize_t size = PyObject_Size(pieces[i]);
    if (size < 0) throw PyError{};
    return static_cast<std::size_t>(size);
  };
  for (std::size_t first = 0, end; first < count; first = end) {
    std::size_t size = size_of(first);
    for (end = first + 1; end < count && size + size_of(end) <= kRecordMost; ++end) size += size_of(end);
    records.push_back(end == first + 1 ? PyRef::borrow(pieces[first])
                                       : joined(pieces + first, end - first, size));
  }
  return records;
}

// --- Reading ----------------------------------------------------------------------------------

// Bytes that grow as they are filled.
class Filling {
 public:
  explicit Filling(std::size_t room)
      : bytes_(py_check(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(room)))) {}

  std::size_t filled() const noexcept { return filled_; }
  bool full() const noexcept { return filled_ == room(); }
  // How many bytes came, or what else TlsConnection::read() says.
  Py_ssize_t read(const TlsConnection& connection) {
    if (full()) resize(room() + kRecordMost);
    const std::size_t most = std::min(room() - filled_, kRecordMost);
    const Py_ssize_t count = connection.read(static_cast<Py_ssize_t>(most),
                                             memory_.over(PyBytes_AS_STRING(bytes_.get()) + filled_, most));
    if (count > 0) filled_ += static_cast<std::size_t>(count);
    was_short_ = count < static_cast<Py_ssize_t>(most);
    return count;
  }
  // Whether read() gave less than there was room for.
  bool was_short() const noexcept { return was_short_; }
  PyRef take() && {
    if (!full()) resize(filled_);
    return std::move(bytes_);
  }

 private:
  std::size_t room() const noexcept { return static_cast<std::size_t>(PyBytes_GET_SIZE(bytes_.get())); }
  void resize(std::size_t size) {
    PyObject* bytes = bytes_.release();
    const int status = _PyBytes_Resize(&bytes, static_cast<Py_ssize_t>(size));
    bytes_ = PyRef::steal(bytes);
    py_check_status(status);
  }

  PyRef bytes_;
  std::size_t filled_ = 0;
  bool was_short_ = false;
  MemoryObject memory_;
};

// As data_received() of the application's protocol.
void deliver(PyObject* self, const PyRef& data) {
  const TlsState tls(self);
  const PyRef protocol = tls.get(TlsField::kAppProtocol);
  const auto size = static_cast<std::size_t>(PyBytes_GET_SIZE(data.get()));
  if (tls.is(TlsField::kFeedsStream)) {
    if (const StreamFeed feed = stream_feed_of(protocol.get(), size))
      return feed_stream(feed, PyBytes_AS_STRING(data.get()), size);
  }
  call_method(protocol.get(), transport_names().data_received, data.get());
}

// Decrypts all that has arrived. Returns whether the peer has closed.
bool read_copied(PyObject* self, const Peer& peer) {
  const std::size_t arrived = peer.incoming.pending();
  const std::size_t room =
      arrived > 0 ? arrived + (arrived > kMuch ? kRecordMost : 0) : peer.connection.pending();
  if (room == 0) return false;
  Filling filling(room);
  Py_ssize_t count;
  do {
    count = filling.read(peer.connection);
  } while (count > 0 && (filling.was_short() ? peer.has_arrived() : peer.has_more()));
  if (filling.filled() > 0) deliver(self, std::move(filling).take());
  return count == 0;
}

void read_on_in_next_turn(PyObject* self) {
  const PyRef callback = attribute(self, tls_methods().do_read);
  call_method(TlsState(self).get(TlsField::kLoop).get(), tls_methods().call_soon, callback.get());
}

// The same into the buffer of the application, once.
bool read_buffered(PyObject* self, const Peer& peer) {
  const TlsState tls(self);
  const PyRef get_buffer = tls.get(TlsField::kGetBuffer),
              hint = py_check(PyLong_FromSize_t(peer.incoming.pending()));
  const PyRef buffer = py_check(PyObject_CallFunctionObjArgs(get_buffer.get(), hint.get(), nullptr));
  const Py_ssize_t size = PyObject_Size(buffer.get());
  if (size < 0) throw PyError{};
  if (size > 0 && !peer.has_more()) return false;
  Py_ssize_t count = peer.connection.read(size, buffer.get()), filled = std::max<Py_ssize_t>(count, 0);
  PyRef view;
  while (count > 0 && filled < size && peer.has_arrived()) {
    if (!view) view = py_check(PyMemoryView_FromObject(buffer.get()));
    const PyRef rest = py_check(PySequence_GetSlice(view.get(), filled, size));
    count = peer.connection.read(size - filled, rest.get());
    filled += std::max<Py_ssize_t>(count, 0);
  }
  if (count > 0 && filled >= size) read_on_in_next_turn(self);
  if (filled > 0) {
    const PyRef updated = tls.get(TlsField::kBufferUpdated), said = py_check(PyLong_FromSsize_t(filled));
    py_check(PyObject_CallFunctionObjArgs(updated.get(), said.get(), nullptr));
  }
  return count == 0;
}

void read_for_app(PyObject* self, const Peer& peer) {
  const bool ended =
      TlsState(self).is(TlsField::kAppProtocolIsBuffer) ? read_buffered(self, peer) : read_copied(self, peer);
  if (!ended) return;
  call_method(self, tls_methods().call_eof_received);
  call_method(self, tls_methods().start_shutdown);
}

}  // namespace

// --- What asyncio's methods do ------------------------------------------------------------------

bool tls_process_outgoing(PyObject* self) {
  const TlsState tls(self);
  const PyRef outgoing_object = tls.get(TlsField::kOutgoing);
  if (!MemoryBio::is(outgoing_object.get())) return false;
  const MemoryBio outgoing(outgoing_object.get());
  if (!tls.is(TlsField::kSslWritingPaused)) {
    const PyRef data = outgoing.read_all();
    if (PyBytes_GET_SIZE(data.get()) > 0) send(tls.get(TlsField::kTransport).get(), data);
  }
  control_app_writing(self, outgoing);
  return true;
}

bool tls_do_read(PyObject* self) {
  const TlsState tls(self);
  if (tls.peek(TlsField::kState) != tls_methods().wrapped) return false;
  const PyRef incoming = tls.get(TlsField::kIncoming);
  TlsConnection connection = TlsConnection::of(tls.get(TlsField::kSslObject).get());
  if (!MemoryBio::is(incoming.get()) || !connection) return false;
  const Peer peer = {MemoryBio(incoming.get()), std::move(connection)};
  try_or_fail(self, [&] {
    if (!tls.is(TlsField::kAppReadingPaused)) {
      read_for_app(self, peer);
      if (backlog_size(tls) > 0) call_method(self, tls_methods().do_write);
      else call_process_outgoing(self);
    }
    control_ssl_reading(self, peer.incoming);
  });
  return true;
}

void tls_received(PyObject* self, char* data, std::size_t size) {
  const TlsState tls(self);
  const TlsMethods& methods = tls_methods();
  MemoryBio(tls.get(TlsField::kIncoming).get()).write(data, size);
  PyObject* const state = tls.peek(TlsField::kState);
  if (state == methods.wrapped) call_do_read(self);
  else if (state == methods.handshaking) call_method(self, methods.do_handshake);
  else if (state == methods.flushing) call_method(self, methods.do_flush);
  else if (state == methods.shutting_down) call_method(self, methods.do_shutdown);
}

bool tls_write(PyObject* self, PyObject* data) {
  const TlsState tls(self);
  if (tls.peek(TlsField::kState) != tls_methods().wrapped || !is_plain_data(data) || backlog_size(tls) > 0)
    return false;
  const TlsConnection connection = TlsConnection::of(tls.get(TlsField::kSslObject).get());
  if (!connection) return false;
  try_or_fail(self, [&] {
    encrypt(self, connection, data);
    call_process_outgoing(self);
  });
  return true;
}

bool tls_writelines(PyObject* self, PyObject* given) {
  const TlsState tls(self);
  if ((!PyList_CheckExact(given) && !PyTuple_CheckExact(given)) ||
      tls.peek(TlsField::kState) != tls_methods().wrapped || backlog_size(tls) > 0) {
    return false;
  }
  PyObject* const* const pieces = PySequence_Fast_ITEMS(given);
  const auto count = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(given));
  const TlsConnection connection = TlsConnection::of(tls.get(TlsField::kSslObject).get());
  if (!connection || !std::all_of(pieces, pieces + count, is_plain_data)) return false;
  try_or_fail(self, [&] {
    for (const PyRef& record : records_of(pieces, count)) {
      if (backlog_size(tls) > 0) keep(self, record.get());
      else encrypt(self, connection, record.get());
    }
    call_process_outgoing(self);
  });
  return true;
}

}  // namespace python
