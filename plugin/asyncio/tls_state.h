// The attributes of a TLS protocol, read and written without a call.
#pragma once

#include <Python.h>

#include <cstddef>
#include <iterator>

#include "plugin/python/py_ref.h"

namespace python {

// Attributes of asyncio.sslproto.SSLProtocol that are slots of the class derived from it. Only that class has
// the last one.
enum class TlsField : std::size_t {
  kState,
  kSslObject,
  kIncoming,
  kOutgoing,
  kLoop,
  kTransport,
  kAppTransport,
  kAppTransportCreated,
  kAppProtocol,
  kAppProtocolIsBuffer,
  kGetBuffer,
  kBufferUpdated,
  kAppReadingPaused,
  kAppWritingPaused,
  kSslReadingPaused,
  kSslWritingPaused,
  kIncomingHighWater,
  kIncomingLowWater,
  kOutgoingHighWater,
  kOutgoingLowWater,
  kWriteBacklog,
  kWriteBufferSize,
  kFeedsStream,
};

inline constexpr const char* kTlsFieldNames[] = {
    "_state",
    "_sslobj",
    "_incoming",
    "_outgoing",
    "_loop",
    "_transport",
    "_app_transport",
    "_app_transport_created",
    "_app_protocol",
    "_app_protocol_is_buffer",
    "_app_protocol_get_buffer",
    "_app_protocol_buffer_updated",
    "_app_reading_paused",
    "_app_writing_paused",
    "_ssl_reading_paused",
    "_ssl_writing_paused",
    "_incoming_high_water",
    "_incoming_low_water",
    "_outgoing_high_water",
    "_outgoing_low_water",
    "_write_backlog",
    "_write_buffer_size",
    "_feeds_stream",
};
inline constexpr std::size_t kTlsFields = std::size(kTlsFieldNames);

// The slots of one protocol, which the caller keeps alive.
class TlsState {
 public:
  explicit TlsState(PyObject* protocol) noexcept : protocol_(protocol) {}

  // Where the slots are, once the class has been made.
  static inline Py_ssize_t offsets[kTlsFields] = {};

  // Null where it has never been set.
  PyObject* peek(TlsField field) const noexcept { return slot(field); }
  // Throws PyError where it has never been set, as Python would.
  PyRef get(TlsField field) const {
    if (slot(field) == nullptr) raise(PyExc_AttributeError, kTlsFieldNames[index(field)]);
    return PyRef::borrow(slot(field));
  }
  bool is(TlsField field) const noexcept { return slot(field) == Py_True; }
  double number(TlsField field) const { return as_double(get(field).get()); }
  void set(TlsField field, PyRef value) const noexcept {
    const PyRef before = PyRef::steal(slot(field));
    slot(field) = value.release();
  }

 private:
  static std::size_t index(TlsField field) noexcept { return static_cast<std::size_t>(field); }
  PyObject*& slot(TlsField field) const noexcept {
    return *reinterpret_cast<PyObject**>(reinterpret_cast<char*>(protocol_) + offsets[index(field)]);
  }
  PyObject* const protocol_;
};

}  // namespace python
