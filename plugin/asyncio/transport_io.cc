// Reading and writing.
#include <limits.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "plugin/asyncio/socket_fields.h"
#include "plugin/asyncio/stream_feed.h"
#include "plugin/asyncio/tls_protocol.h"
#include "plugin/asyncio/transport.h"
#include "plugin/asyncio/transport_names.h"
#include "plugin/python/except_clause.h"

namespace python {
namespace {

// asyncio's: writes to a connection that is lost are logged from this one on.
constexpr long kLostWritesUnlogged = 5;
constexpr char kWriteFailed[] = "Fatal write error on socket transport";
constexpr char kReadFailed[] = "Fatal read error on socket transport";
constexpr char kReceiveFailed[] = "Fatal error: protocol.data_received() call failed.";
constexpr char kUpdateFailed[] = "Fatal error: protocol.buffer_updated() call failed.";
// What a read takes at first. Where that is not all, the next reads take `max_size`.
constexpr std::size_t kFewBytes = 64 * 1024;

// What asyncio's TLS reads at once.
constexpr std::size_t kEncryptedBytes = 256 * 1024;

// What is kept until a callback ends. No more pieces than fit in one call, with one that is not kept.
constexpr std::size_t kKeptMost = 64 * 1024;
constexpr std::size_t kPiecesKeptMost = 256;

// Nothing is sent where the kernel has no room.
std::size_t sent_or_throw(ssize_t sent) {
  if (sent >= 0) return static_cast<std::size_t>(sent);
  if (is_for_later(errno)) return 0;
  raise_errno(errno);
}

// Where few bytes come to first, for all transports, so that their object is no larger than they are: nobody
// else has the GIL meanwhile.
char few[kFewBytes];

}  // namespace

// The bytes of an object that has some.
class SocketTransport::View {
 public:
  explicit View(PyObject* object, int flags = PyBUF_SIMPLE) : object_(object) {
    if (flags == PyBUF_SIMPLE && PyBytes_CheckExact(object)) {
      buffer_.buf = PyBytes_AS_STRING(object);
      buffer_.len = PyBytes_GET_SIZE(object);
      return;
    }
    py_check_status(PyObject_GetBuffer(object, &buffer_, flags));
    owns_ = true;
  }
  ~View() {
    if (owns_) PyBuffer_Release(&buffer_);
  }
  View(const View&) = delete;
  View& operator=(const View&) = delete;

  char* data() const noexcept { return static_cast<char*>(buffer_.buf); }
  std::size_t size() const noexcept { return static_cast<std::size_t>(buffer_.len); }
  // Nobody can change them.
  bool constant() const noexcept { return !owns_; }
  // The rest of `data` from `from` on, copied unless it is bytes, because its owner may change it.
  void push_to(WriteQueue& queue, std::size_t from) const {
    if (size() == from) return;
    if (!owns_) return queue.push(PyRef::borrow(object_), from);
    queue.push(py_check(PyBytes_FromStringAndSize(data() + from, static_cast<Py_ssize_t>(size() - from))));
  }

 private:
  PyObject* const object_;
  Py_buffer buffer_;
  bool owns_ = false;
};

// --- Reading --------------------------------------------------------------------------------

void SocketTransport::start_reading() {
  if (is_reading()) watch(EV_READ, transport_names().read_ready);
}

void SocketTransport::pause_reading() {
  if (!is_reading()) return;
  paused_ = true;
  unwatch(EV_READ);
  if (debug()) log_debug("%r pauses reading", self_);
}

void SocketTransport::resume_reading() {
  if (closing_ || !paused_) return;
  paused_ = false;
  watch(EV_READ, transport_names().read_ready);
  if (debug()) log_debug("%r resumes reading", self_);
}

void SocketTransport::read_ready() {
  if (conn_lost_ != 0) return;
  if (is_below_tls_) read_encrypted();
  else if (buffered_) read_into_buffer();
  else read_data();
}

// -1 where nothing is there yet, 0 at the end.
ssize_t SocketTransport::receive(void* to, std::size_t size) {
  if (read_error_ != 0) raise_errno(std::exchange(read_error_, 0));
  const ssize_t got = recv(descriptor(), to, size, MSG_DONTWAIT);
  if (got < 0 && !is_for_later(errno)) raise_errno(errno);
  return got;
}

// Null where nothing is there yet; empty at the end.
PyRef SocketTransport::read_bytes() {
  if (!reads_much_) {
    const ssize_t got = receive(few, std::min(max_size, sizeof few));
    reads_much_ = got == sizeof few;
    return got < 0 ? PyRef() : py_check(PyBytes_FromStringAndSize(few, got));
  }
  PyRef many = py_check(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(max_size)));
  const ssize_t got = receive(PyBytes_AS_STRING(many.get()), max_size);
  reads_much_ = got >= static_cast<ssize_t>(kFewBytes);
  if (got < 0) return {};
  PyObject* resized = many.release();
  py_check_status(_PyBytes_Resize(&resized, got));
  return PyRef::steal(resized);
}

void SocketTransport::read_data() {
  PyRef data;
  if (!try_or_fail(kReadFailed, [&] { data = read_bytes(); }) || !data) return;
  if (PyBytes_GET_SIZE(data.get()) == 0) return on_eof();
  receive_data(data);
}

void SocketTransport::receive_data(const PyRef& data) {
  const PyRef protocol = protocol_;
  try_or_fail(kReceiveFailed,
              [&] { call_method(protocol.get(), transport_names().data_received, data.get()); });
}

// Bytes for asyncio's own stream. The end of them, and errors, are for the handle.
bool SocketTransport::take_event() {
  if (!feeds_stream_ || reads_much_ || conn_lost_ != 0 || debug()) return false;
  const PyRef self = PyRef::borrow(self_), protocol = protocol_;
  const std::size_t most = std::min(max_size, sizeof few);
  const StreamFeed feed = stream_feed_of(protocol.get(), most);
  if (!feed || conn_lost_ != 0 || SocketFields::of(sock()).fd != fd_) return false;
  const ssize_t got = recv(fd_, few, most, MSG_DONTWAIT);
  if (got < 0 && is_for_later(errno)) return true;
  if (got < 0) read_error_ = errno;
  if (got <= 0) return false;
  reads_much_ = got == sizeof few;
  try_or_fail(kReceiveFailed, [&] { feed_stream(feed, few, static_cast<std::size_t>(got)); });
  return true;
}

void SocketTransport::read_into_buffer() {
  const PyRef protocol = protocol_;
  PyRef buffer;
  if (!try_or_fail("Fatal error: protocol.get_buffer() call failed.", [&] {
        buffer = call_method(protocol.get(), transport_names().get_buffer, transport_names().any_size);
        const Py_ssize_t length = PyObject_Size(buffer.get());
        if (length < 0) throw PyError{};
        if (length == 0) raise(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
      })) {
    return;
  }
  ssize_t got = -1;
  if (!try_or_fail(kReadFailed, [&] {
        const View view(buffer.get(), PyBUF_WRITABLE);
        got = receive(view.data(), view.size());
      })) {
    return;
  }
  if (got < 0) return;
  if (got == 0) return on_eof();
  try_or_fail(kUpdateFailed, [&] {
    call_method(protocol.get(), transport_names().buffer_updated, py_check(PyLong_FromSsize_t(got)).get());
  });
}

// As read_into_buffer(), from memory for all transports, which TLS copies at once.
void SocketTransport::read_encrypted() {
  static char encrypted[kEncryptedBytes];  // The GIL protects it.
  const PyRef protocol = protocol_;
  ssize_t got = -1;
  if (!try_or_fail(kReadFailed, [&] { got = receive(encrypted, sizeof encrypted); }) || got < 0) return;
  if (got == 0) return on_eof();
  try_or_fail(kUpdateFailed, [&] { tls_received(protocol.get(), encrypted, static_cast<std::size_t>(got)); });
}

void SocketTransport::on_eof() {
  if (debug()) log_debug("%r received EOF", self_);
  const PyRef protocol = protocol_;
  PyRef keep_open;
  if (!try_or_fail("Fatal error: protocol.eof_received() call failed.",
                   [&] { keep_open = call_method(protocol.get(), transport_names().eof_received); })) {
    return;
  }
  if (!is_true(keep_open)) close();
  else if (loop_) unwatch(EV_READ);
}

// --- Writing --------------------------------------------------------------------------------

void SocketTransport::check_writable(const char* method) const {
  if (eof_) raise(PyExc_RuntimeError, "Cannot call %s() after write_eof()", method);
  if (empty_waiter_) raise(PyExc_RuntimeError, "unable to %s; sendfile is in progress", method);
}

void SocketTransport::count_lost_write() {
  if (conn_lost_ >= kLostWritesUnlogged) {
    py_check(PyObject_CallMethod(asyncio_names().logger, "warning", "s", "socket.send() raised exception."));
  }
  ++conn_lost_;
}

std::size_t SocketTransport::send_now(const void* data, std::size_t size) const {
  return sent_or_throw(send(descriptor(), data, size, MSG_DONTWAIT | MSG_NOSIGNAL));
}

// What fits in one call. `more` comes after the queue. REQUIRES: with `more` the queue has less than IOV_MAX
// pieces.
std::size_t SocketTransport::send_queued(const View* more) const {
  static iovec pieces[IOV_MAX];  // The GIL protects it.
  std::size_t count = queue_.front(pieces, IOV_MAX);
  if (more != nullptr) pieces[count++] = {more->data(), more->size()};
  if (count == 1) return send_now(pieces->iov_base, pieces->iov_len);
  msghdr message = {};
  message.msg_iov = pieces;
  message.msg_iovlen = count;
  return sent_or_throw(sendmsg(descriptor(), &message, MSG_DONTWAIT | MSG_NOSIGNAL));
}

void SocketTransport::write(PyObject* data) {
  if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
    raise(PyExc_TypeError, "data argument must be a bytes-like object, not '%.200s'", Py_TYPE(data)->tp_name);
  }
  check_writable("write");
  if (send_or_queue(data)) maybe_pause_protocol();
}

// Whether so much may be kept until the callback ends.
bool SocketTransport::may_keep(std::size_t size) const noexcept {
  return size <= kKeptMost && static_cast<double>(size) <= high_water.value && core().in_callback();
}

// The same beside what is kept.
bool SocketTransport::may_keep_more(std::size_t size, std::size_t pieces) const noexcept {
  const auto kept = only_ ? static_cast<std::size_t>(PyBytes_GET_SIZE(only_.get())) : queue_.size();
  return linked() && queue_.pieces() + pieces < kPiecesKeptMost && may_keep(kept + size);
}

void SocketTransport::queue_only() {
  if (only_) queue_.push(std::move(only_));
}

// What a callback wrote, as it ends or before.
void SocketTransport::send_kept() {
  const PyRef self = PyRef::borrow(self_), only = std::move(only_);
  unlink();
  try_or_fail(kWriteFailed, [&] {
    if (only) {
      const auto size = static_cast<std::size_t>(PyBytes_GET_SIZE(only.get()));
      const std::size_t sent = send_now(PyBytes_AS_STRING(only.get()), size);
      if (sent == size) return;
      queue_.push(only, sent);
    } else {
      queue_.drop_front(send_queued());
      if (queue_.empty()) return;
    }
    watch(EV_WRITE, transport_names().write_ready);
  });
}

// True where something waits for the kernel.
bool SocketTransport::send_or_queue(PyObject* data) {
  const View view(data);
  if (view.size() == 0) return false;
  if (conn_lost_ != 0) {
    count_lost_write();
    return false;
  }
  if (view.constant() && !linked() && queue_.empty() && may_keep(view.size())) {
    only_ = PyRef::borrow(data);
    core().kept_writes().add(*this);
    return false;
  }
  if (!view.constant() || !may_keep_more(view.size(), 1)) return send_or_queue(view);
  queue_only();
  view.push_to(queue_, 0);
  return false;
}

// The same at once, with what is kept.
bool SocketTransport::send_or_queue(const View& data) {
  const bool kept = linked();
  std::size_t sent = 0;
  if (kept || queue_.empty()) {
    queue_only();
    unlink();
    if (!try_or_fail(kWriteFailed, [&] {
          sent = kept ? send_queued(&data) : send_now(data.data(), data.size());
          const std::size_t of_queue = std::min(sent, queue_.size());
          queue_.drop_front(of_queue);
          sent -= of_queue;
        })) {
      return false;
    }
    if (sent == data.size()) return false;
    watch(EV_WRITE, transport_names().write_ready);
  }
  data.push_to(queue_, sent);
  return true;
}

void SocketTransport::writelines(PyObject* pieces) {
  check_writable(PY_VERSION_HEX >= 0x030C0000 ? "writelines" : "write");
  const PyRef list = py_check(PySequence_Fast(pieces, "can only join an iterable"));
  WriteQueue added;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(list.get()); ++i) {
    View(PySequence_Fast_GET_ITEM(list.get(), i)).push_to(added, 0);
  }
  if (added.empty()) return;
  if (conn_lost_ != 0) return count_lost_write();
  const bool first = queue_.empty() || linked();
  const bool kept = first && (linked() ? may_keep_more(added.size(), added.pieces())
                                       : added.pieces() < kPiecesKeptMost && may_keep(added.size()));
  queue_only();
  queue_.take(std::move(added));
  if (kept) {
    if (!linked()) core().kept_writes().add(*this);
    return;
  }
  if (first) {
    unlink();
    if (!try_send_queued() || queue_.empty()) return;
    watch(EV_WRITE, transport_names().write_ready);
  }
  maybe_pause_protocol();
}

// Returns false if that failed, which ends the transport.
bool SocketTransport::try_send_queued() {
  return try_or_fail(kWriteFailed, [&] { queue_.drop_front(send_queued()); });
}

void SocketTransport::write_ready() {
  if (conn_lost_ != 0 || queue_.empty()) return;
  if (!try_send_queued()) return;
  maybe_resume_protocol();  // It may write more, or close.
  send_kept_first();
  if (!queue_.empty() || !loop_) return;
  unwatch(EV_WRITE);
  end_empty_waiter("set_result", Py_None);
  if (closing_ && conn_lost_ == 0) connection_lost(Py_None);
  else if (eof_) shut_down_writing();
}

void SocketTransport::write_eof() {
  send_kept_first();
  if (closing_ || eof_) return;
  eof_ = true;
  if (queue_.empty()) shut_down_writing();
}

void SocketTransport::shut_down_writing() const {
  if (shutdown(descriptor(), SHUT_WR) != 0) raise_errno(errno);
}

void SocketTransport::maybe_pause_protocol() {
  send_kept_first();
  if (protocol_paused_ || static_cast<double>(queue_.size()) <= high_water.value) return;
  protocol_paused_ = true;
  tell_protocol(transport_names().pause_writing, "protocol.pause_writing() failed");
}

void SocketTransport::maybe_resume_protocol() {
  if (!protocol_paused_ || static_cast<double>(queue_.size()) > low_water.value) return;
  protocol_paused_ = false;
  tell_protocol(transport_names().resume_writing, "protocol.resume_writing() failed");
}

void SocketTransport::tell_protocol(PyObject* method, const char* message) {
  const PyRef protocol = protocol_;
  try {
    call_method(protocol.get(), method);
    return;
  } catch (const PyError&) {
    if (is_exit_pending()) throw;
  }
  const PyRef exception = take_exception();
  const ExceptClause handled(exception);
  report(exception.get(), message);
}

}  // namespace python
