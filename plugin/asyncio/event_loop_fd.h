// Readers and writers of an event loop.
#pragma once

#include <Python.h>

#include <memory>
#include <vector>

#include "plugin/asyncio/handle.h"
#include "plugin/blocking/close_listener.h"
#include "plugin/loop/watcher.h"
#include "plugin/python/py_ref.h"

namespace python {

// Watches one descriptor for the loop: at most one handle for reading and one for writing. In a
// worker, when anybody closes the descriptor, the loop lets go of it; the handles stay and are
// not called, as with epoll. Without a worker closes are not reported, but seen at the next
// poll.
class FdWatch final : public blocking::CloseListener {
 public:
  FdWatch(EventLoop& owner, int fd) noexcept;

  PyRef& handle_for(int event) noexcept { return event == EV_READ ? reader : writer; }
  int events() const noexcept { return (reader ? EV_READ : 0) | (writer ? EV_WRITE : 0); }
  int fd() const noexcept { return fd_; }
  // The descriptor refers to this file. Handles for another file that had its number are dropped.
  void set_file(const loop::FileIdentity& identity) noexcept;
  // Watches for the events that have handles. A socket that has none any more stays registered until its next
  // event: who waits for it again and again costs the kernel nothing.
  void update();

  PyRef file;  // The object that the caller passed; it may have been closed since.
  // A handle, or the operation of a sock_* method.
  PyRef reader;
  PyRef writer;

 private:
  void on_ready(int events) noexcept;
  void let_go() noexcept override { io_.stop(); }

  EventLoop& owner_;
  const int fd_;
  loop::FileIdentity identity_;
  loop::IoWatcher<FdWatch, &FdWatch::on_ready> io_;
};

class FdWatches {
 public:
  explicit FdWatches(EventLoop& owner) noexcept : owner_(owner) {}

  // As _add_reader() and _add_writer(), by `event` EV_READ or EV_WRITE: returns the handle.
  // Throws PyError: OSError where the kernel cannot watch such a file.
  PyRef add(int event, PyObject* file, const Call& call);
  // The same for an operation of a sock_* method. REQUIRES: `fd` is that of `file`.
  void add_operation(int event, int fd, PyObject* file, PyRef operation);
  // Returns false if there was none.
  bool remove(int event, PyObject* file);
  // Nothing where another one, or a handle, has taken its place.
  void remove_operation(int event, int fd, PyObject* operation) noexcept;
  bool has(int event, int fd) const noexcept;
  bool is_for(int event, int fd, PyObject* operation) const noexcept;
  // A selectors.SelectorKey with the handles (reader, writer) as data, or nothing.
  PyRef key(PyObject* file);
  void clear() noexcept;
  int traverse(visitproc visit, void* arg) const noexcept;

 private:
  FdWatch* find(PyObject* file);
  FdWatch& make(int fd);
  void put(int event, int fd, PyObject* file, PyRef handle);
  static void take_out(FdWatch& watch, int event);

  EventLoop& owner_;
  std::vector<std::unique_ptr<FdWatch>> watches_;  // By descriptor.
};

// The descriptor of an int or of an object with fileno(). Throws PyError as asyncio does.
int descriptor_of(PyObject* file);

}  // namespace python
