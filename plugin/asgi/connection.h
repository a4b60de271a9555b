// One request to an ASGI application, from its scope to the end of its response.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plugin/asgi/running_application.h"
#include "plugin/loop/deadline.h"
#include "plugin/loop/peer_watch.h"
#include "plugin/loop/watcher.h"
#include "plugin/python/py_ref.h"
#include "plugin/request/async_application.h"
#include "plugin/request/request_thread.h"
#include "plugin/uwsgi/uwsgi_core.h"
#include "suspend/baton.h"

namespace asgi {

// The application is a task of the worker's loop. Its messages are queued here and written on the fiber of
// the request, where uWSGI's functions may suspend. An application may continue after its response; the
// request has ended then, and the application is an ordinary task.
//
// A Python object owns the connection; receive() and send() hold references to it. The loop's thread only.
class Connection : public engine::AsyncApplication {
 public:
  explicit Connection(engine::RequestThread& thread) noexcept;
  virtual ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Serves the request on its fiber, until the response is written or the application has ended without one.
  // `self` is the Python object, `application` the callable. Throws PyError.
  void serve(const python::PyRef& self, PyObject* application);

  static Connection& of(PyObject* object) noexcept;
  // Makes a Python object that owns `connection`. Throws PyError.
  static python::PyRef give(std::unique_ptr<Connection> connection);

  // --- For the operations of the application ------------------------------------------------

  // Throws PyError unless called on the worker's thread.
  void check_thread() const;
  // The next message, or null if there is none yet. Throws PyError.
  virtual python::PyRef receive() = 0;
  // Throws PyError if the message is invalid, or must not be sent now.
  virtual void send(PyObject* message) = 0;
  // Whether send() may return at once, because little is left to be written.
  bool has_room() const noexcept { return unwritten_ <= kMostUnwritten || gone_; }
  // Futures that are done as soon as there may be a message, or room to send.
  python::PyRef message_future() { return future_in(receivers_); }
  python::PyRef room_future() { return future_in(senders_); }

  // What is gathered goes now.
  void send_gathered() noexcept {
    if (!gathered_.empty()) notify();
  }

  // --- For the RunningApplication ------------------------------------------------------------

  // The thread of the request, or null once the request has ended.
  engine::RequestThread* thread() noexcept { return thread_; }
  // The application has returned or, if `exception` is not null, raised.
  void application_ended(python::PyRef exception) noexcept;

  // --- AsyncApplication ------------------------------------------------------------------------

  void connection_lost() noexcept override;
  python::PyRef task() const override { return task_; }
  python::PyRef coroutine() const override;

 protected:
  // Owns a descriptor.
  class File {
   public:
    File() noexcept = default;
    explicit File(int fd) noexcept : fd_(fd) {}
    File(File&& other) noexcept : fd_(other.release()) {}
    File& operator=(File&& other) noexcept {
      std::swap(fd_, other.fd_);
      return *this;
    }
    ~File();
    int get() const noexcept { return fd_; }
    int release() noexcept { return std::exchange(fd_, -1); }

   private:
    int fd_ = -1;
  };

  // A queued piece of output.
  struct Output {
    int kind = 0;
    python::PyRef data;  // bytes, or null.
    int number = 0;
    File file;
    std::size_t size = 0;  // The size of the data, while it counts as unwritten.
    std::string gathered;  // Written before the data.
  };

  // On the loop. Throws PyError.
  virtual python::PyRef make_scope() = 0;
  // Writes it, on the fiber. Returns false if the connection is lost.
  virtual bool write(Output& output) = 0;
  virtual bool write_gathered(std::string_view) { return true; }
  // Called on the fiber, each time it is woken.
  virtual void look() {}
  // Whether the response is complete, so that the request may end while the application continues.
  virtual bool answered() const noexcept = 0;
  // Called on the fiber after the last write. `exception` is what the application raised, or null.
  virtual void finish(const python::PyRef& exception) = 0;

  void put(Output output);
  // Small pieces of a stream are gathered. The first piece of a turn is put() and written at once. Later ones
  // are added to gathered() and written together: before the next put(), at 64 KiB, as the turn ends, or
  // after a quantum (Gathering), whichever comes first.
  bool gathers() const noexcept { return gathering_ || baton_ == nullptr; }
  void gather_from_now() noexcept;
  std::string& gathered() noexcept { return gathered_; }
  // Must be called after each addition.
  void added(std::size_t size) noexcept;
  // The client has disconnected, or nothing can be sent to it any more. Wakes all waiters.
  void lost() noexcept;
  bool is_lost() const noexcept { return gone_; }
  // Messages may have come.
  void wake_receivers() noexcept { wake(receivers_); }
  // Wakes the fiber.
  void notify() noexcept;
  // Starts watching for the client's disconnect, unless that has begun.
  void watch_client() noexcept;
  bool ended() const noexcept { return ended_; }

  engine::RequestThread& attached_thread() const noexcept { return *thread_; }
  wsgi_request& request() const noexcept { return *thread_->request(); }
  loop::IoLoop& loop() const noexcept { return loop_; }
  // The name of the fiber's wait in reports, and after how many seconds it wakes by itself (negative: never).
  virtual const char* waits_for() const noexcept { return "application"; }
  virtual double looks_in_s() const noexcept { return -1; }
  // The request ends. Afterwards nothing of it may be touched.
  virtual void detach() noexcept;

 private:
  using Futures = std::vector<python::PyRef>;

  static constexpr std::size_t kMostUnwritten = 64 << 10;

  void start() noexcept;
  void start_application();
  void write_outputs();
  bool write_next();
  void wait();
  void cancel_application() noexcept;
  python::PyRef future_in(Futures& waiting);
  static void wake(Futures& waiting) noexcept;
  void release_task() noexcept;
  void on_client_gone() noexcept;

  engine::RequestThread* thread_;
  loop::IoLoop& loop_;
  PyObject* self_ = nullptr;         // Borrowed from serve().
  PyObject* application_ = nullptr;  // The same.
  python::PyRef running_;            // A RunningApplication.
  python::PyRef task_;
  python::PyRef exception_;
  suspend::Baton* baton_ = nullptr;  // Set while the fiber waits for work.
  std::list<Output> outputs_;        // Empty, it takes no memory: many connections are idle.
  std::string gathered_;             // Written after outputs_.
  bool gathering_ = false;
  std::size_t unwritten_ = 0;
  Futures receivers_;
  Futures senders_;
  loop::PeerWatch client_;
  loop::Deadline give_up_ = loop::Deadline::never();  // For a cancelled application to end.
  bool given_up_ = false;
  bool watched_ = false;
  bool gone_ = false;
  bool ended_ = false;
};

// How many applications continue after their response.
int applications_beside_requests() noexcept;

}  // namespace asgi
