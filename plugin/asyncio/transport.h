// The transport of a stream socket: TCP and unix.
#pragma once

#include <Python.h>

#include <cassert>
#include <cstddef>

#include "plugin/asyncio/event_loop.h"
#include "plugin/asyncio/handle.h"
#include "plugin/asyncio/kept_writes.h"
#include "plugin/asyncio/write_queue.h"
#include "plugin/python/py_ref.h"

namespace python {

// Socket transports alive now, for leak checks.
inline long live_socket_transports = 0;

// The C++ side of uwsgi_tornado._SocketTransport, which does what asyncio's transport of a selector loop
// does, in the same order and with the same messages. It reads and writes by readers and writers of the
// loop, so its callbacks to the protocol are handles like others: they run where the loop runs its own.
//
// It reads and writes the descriptor itself, without the methods of the socket object, but only while
// that object has it: after socket.close() or socket.detach() the number may mean another file.
//
// What a callback of the loop writes is kept and sent together as the callback ends, or when that has to show
// (kept_writes.h). It is never more than the high-water mark, so that writing is paused when asyncio pauses
// it.
//
// Every member that throws throws PyError. A callback to the protocol may call any member; it may not end
// this object, since whoever calls a member owns a reference to the Python object.
class SocketTransport final : public KeepsWrites, public EventTaker {
 public:
  // The arguments of _make_socket_transport(); null for those not given.
  struct Options {
    PyObject* protocol;
    PyObject* waiter;
    PyObject* extra;
    PyObject* server;
  };

  // `self` is the Python object, borrowed.
  explicit SocketTransport(PyObject* self) noexcept;
  ~SocketTransport();
  SocketTransport(const SocketTransport&) = delete;
  SocketTransport& operator=(const SocketTransport&) = delete;

  // The transport that `object` is; null for any other object, and for one that was given attributes of its
  // own.
  static SocketTransport* of(PyObject* object) noexcept;
  // True for a plain socket.socket that is open. The methods of other types may do more than a socket's.
  static bool can_take(PyObject* sock);
  // Begins. REQUIRES: can_take(sock), `loop` is an EventLoop. To be called once.
  void open(PyObject* loop, PyObject* sock, const Options& options);

  // --- Methods with asyncio's names -------------------------------------------------------

  void write(PyObject* data);
  void writelines(PyObject* pieces);
  void write_eof();
  void pause_reading();
  void resume_reading();
  void close();
  void abort() { force_close(Py_None); }
  void set_protocol(PyObject* protocol);
  PyRef make_empty_waiter();
  void reset_empty_waiter() { empty_waiter_ = {}; }
  void maybe_pause_protocol();
  void maybe_resume_protocol();
  void fatal_error(PyObject* exception, const char* message);
  // `exception` may be None.
  void force_close(PyObject* exception);

  // --- Callbacks of the loop --------------------------------------------------------------

  void start_reading();
  void read_ready();
  bool take_event() override;
  void write_ready();
  void send_kept() override;
  void connection_lost(PyObject* exception);
  // What has been written before is with the kernel now, or waits for its room.
  void send_kept_first() {
    if (linked()) send_kept();
  }

  // --- Fields, and the garbage collector --------------------------------------------------

  bool is_closing() const noexcept { return closing_; }
  bool is_reading() const noexcept { return !closing_ && !paused_; }
  bool is_paused() const noexcept { return paused_; }
  bool has_eof() const noexcept { return eof_; }
  bool is_protocol_paused() const noexcept { return protocol_paused_; }
  bool is_protocol_connected() const noexcept { return protocol_connected_; }
  int fd() const noexcept { return fd_; }
  long conn_lost() const noexcept { return conn_lost_; }
  const WriteQueue& queue() const noexcept { return queue_; }
  PyObject* loop() const noexcept { return loop_.get(); }
  PyObject* sock() const noexcept { return sock_.get(); }
  PyObject* protocol() const noexcept { return protocol_.get(); }
  PyObject* server() const noexcept { return server_.get(); }
  PyObject* extra() const noexcept { return extra_.get(); }
  PyObject* empty_waiter() const noexcept { return empty_waiter_.get(); }
  // Whether the loop calls this transport when the descriptor is ready for `event`.
  bool is_watched_for(int event);

  // The number that the caller gave, of any type, and its value for comparisons.
  struct Mark {
    PyRef given;
    double value = 0;
  };
  Mark high_water;
  Mark low_water;
  std::size_t max_size = 256 * 1024;  // The most bytes that one call reads.

  int traverse(visitproc visit, void* arg) const noexcept;
  void clear() noexcept;
  // Closes a socket that was forgotten open, and warns.
  void finalise() noexcept;
  // At the end of the process: closes the sockets of this loop's transports, and drops all references of
  // these and of closed transports. Does not call their protocols.
  static void drop_all_of(PyObject* loop) noexcept;

 private:
  class View;

  // Runs `step`. Returns false if it raised, which is fatal for the transport.
  template <typename Step>
  bool try_or_fail(const char* message, Step step) {
    try {
      step();
      return true;
    } catch (const PyError&) {
    }
    return fail(message);
  }
  bool fail(const char* message);
  void tell_protocol(PyObject* method, const char* message);
  void report(PyObject* exception, const char* message);
  void check_writable(const char* method) const;
  bool may_keep(std::size_t size) const noexcept;
  bool may_keep_more(std::size_t size, std::size_t pieces) const noexcept;
  void queue_only();
  bool send_or_queue(PyObject* data);
  bool send_or_queue(const View& data);
  void count_lost_write();
  int descriptor() const;
  ssize_t receive(void* to, std::size_t size);
  PyRef read_bytes();
  void read_data();
  void receive_data(const PyRef& data);
  void read_into_buffer();
  void read_encrypted();
  void on_eof();
  std::size_t send_now(const void* data, std::size_t size) const;
  std::size_t send_queued(const View* more = nullptr) const;
  bool try_send_queued();
  void shut_down_writing() const;
  void end_empty_waiter(const char* method, PyObject* argument);
  void release_socket();
  void drop_socket() noexcept;
  void watch(int event, PyObject* method);
  void unwatch(int event);
  void call_soon(PyObject* method, PyObject* argument);
  void describe_socket();
  EventLoop& core() const noexcept {
    assert(loop_);
    return *core_;
  }
  bool debug() const noexcept { return loop_ && core().debug(); }

  PyObject* const self_;
  EventLoop* core_ = nullptr;  // The C++ side of `loop_`.
  PyRef loop_;                 // This and the next two are null once the connection is lost.
  PyRef sock_;
  PyRef protocol_;
  PyRef server_;
  PyRef extra_;
  PyRef empty_waiter_;
  // What is kept until the callback ends, if that is one object: most callbacks write once. It is not in the
  // queue, which is empty.
  PyRef only_;
  WriteQueue queue_;
  long conn_lost_ = 0;  // Not 0 once connection_lost() is due; counts writes from then on.
  int fd_ = -1;
  bool buffered_ = false;
  bool feeds_stream_ = false;
  bool is_below_tls_ = false;
  int read_error_ = 0;  // Of a read whose handle is to run yet.
  bool reads_much_ = false;
  bool closing_ = false;
  bool paused_ = false;
  bool eof_ = false;
  bool protocol_paused_ = false;
  bool protocol_connected_ = false;

  // Every transport.
  SocketTransport* next_;
  SocketTransport** previous_link_;
  static inline SocketTransport* first_ = nullptr;
};

// Makes the type on the first call. Throws PyError.
void need_socket_transport_type();

// A loop's _make_socket_transport() and _make_ssl_transport(), as methods with keywords.
PyObject* make_socket_transport(PyObject* loop, PyObject* args, PyObject* kwargs) noexcept;
PyObject* make_ssl_transport(PyObject* loop, PyObject* args, PyObject* kwargs) noexcept;
// Adds start_tls() to the dict `class_body` of a loop. Throws PyError.
void add_tls_methods(PyObject* class_body);

}  // namespace python
