// What an ASGI application speaks to: one request, from its scope to the end of its response.
#pragma once

#include <deque>
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

// The application is a task of the worker's loop. What it sends is queued here, and written on the fiber of
// the request, where uWSGI's functions suspend. It may go on after its response: then the request has ended,
// and it is a task as any other.
//
// Belongs to a Python object, which receive() and send() keep. The loop's thread only.
class Connection : public engine::AsyncApplication {
 public:
  explicit Connection(engine::RequestThread& thread) noexcept;
  virtual ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Serves the request, on its fiber: until the response is written, or the application has ended without.
  // `self` is the Python object, `application` what is called. Throws PyError.
  void serve(const python::PyRef& self, PyObject* application);

  static Connection& of(PyObject* object) noexcept;
  // Gives `connection` to a new Python object. Throws PyError.
  static python::PyRef give(std::unique_ptr<Connection> connection);

  // --- For the operations of the application ------------------------------------------------

  // Throws PyError elsewhere than on the worker's thread.
  void check_thread() const;
  // The next message; null: there is none yet. Throws PyError.
  virtual python::PyRef receive() = 0;
  // Throws PyError: the message is not one to send now.
  virtual void send(PyObject* message) = 0;
  // Whether an application that sends may go on: little is left to be written.
  bool has_room() const noexcept { return unwritten_ <= kMostUnwritten || gone_; }
  // Futures, done once there may be a message, or room.
  python::PyRef message_future() { return future_in(receivers_); }
  python::PyRef room_future() { return future_in(senders_); }

  // What is gathered goes now.
  void send_gathered() noexcept {
    if (!gathered_.empty()) notify();
  }

  // --- For the RunningApplication ------------------------------------------------------------

  // The request while it runs; else null.
  engine::RequestThread* thread() noexcept { return thread_; }
  // It has returned, or raised `exception`.
  void application_ended(python::PyRef exception) noexcept;

  // --- AsyncApplication ------------------------------------------------------------------------

  void connection_lost() noexcept override;
  python::PyRef task() const override { return task_; }
  python::PyRef coroutine() const override;

 protected:
  // A descriptor, until it is given on.
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

  // What is to be written.
  struct Output {
    int kind = 0;
    python::PyRef data;  // bytes, or null.
    int number = 0;
    File file;
    std::size_t size = 0;  // Of the data, while it counts as unwritten.
    std::string gathered;  // Goes before it.
  };

  // On the loop. Throws PyError.
  virtual python::PyRef make_scope() = 0;
  // On the fiber: writes it. False when the connection is lost.
  virtual bool write(Output& output) = 0;
  virtual bool write_gathered(std::string_view) { return true; }
  // On the fiber, each time it is woken.
  virtual void look() {}
  // The request has its answer: what the application does from here on is its own.
  virtual bool answered() const noexcept = 0;
  // On the fiber, once no more is written: the application ended with `exception`, or without one.
  virtual void finish(const python::PyRef& exception) = 0;

  void put(Output output);
  // Small pieces of one stream: the first that a turn of the loop sends is put() and goes at once; those that
  // follow are added to gathered(), and go together with what is put() next, as 64 KiB, as the turn ends, or,
  // where that is first, after a quantum (Gathering).
  bool gathers() const noexcept { return gathering_ || baton_ == nullptr; }
  void gather_from_now() noexcept;
  std::string& gathered() noexcept { return gathered_; }
  // After something has been added.
  void added(std::size_t size) noexcept;
  // The client has gone, or nothing can be sent to it any more: who waits for it is told.
  void lost() noexcept;
  bool is_lost() const noexcept { return gone_; }
  // Messages may have come.
  void wake_receivers() noexcept { wake(receivers_); }
  // The fiber is to look again.
  void notify() noexcept;
  // Where the connection is not watched for its end yet, from here on it is.
  void watch_client() noexcept;
  bool ended() const noexcept { return ended_; }

  engine::RequestThread& attached_thread() const noexcept { return *thread_; }
  wsgi_request& request() const noexcept { return *thread_->request(); }
  loop::IoLoop& loop() const noexcept { return loop_; }
  // What the fiber is shown to wait for, and in how many seconds it looks by itself; below 0: never.
  virtual const char* waits_for() const noexcept { return "application"; }
  virtual double looks_in_s() const noexcept { return -1; }
  // The request ends: nothing of it may be touched afterwards.
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
  suspend::Baton* baton_ = nullptr;  // The fiber waits for something to do.
  std::deque<Output> outputs_;
  std::string gathered_;  // After outputs_.
  bool gathering_ = false;
  std::size_t unwritten_ = 0;
  Futures receivers_;
  Futures senders_;
  loop::PeerWatch client_;
  loop::Deadline give_up_ = loop::Deadline::never();  // A cancelled application is waited for no longer.
  bool given_up_ = false;
  bool watched_ = false;
  bool gone_ = false;
  bool ended_ = false;
};

// Applications that go on after their response.
int applications_beside_requests() noexcept;

}  // namespace asgi
