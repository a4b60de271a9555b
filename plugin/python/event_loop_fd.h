// Readers and writers of an event loop.
#pragma once

#include <Python.h>

#include <memory>
#include <vector>

#include "plugin/loop/watcher.h"
#include "plugin/python/handle.h"
#include "plugin/python/py_ref.h"

namespace python {

// What the loop watches one descriptor for: at most one handle for reading and one for writing.
class FdWatch {
 public:
  FdWatch(EventLoop& owner, int fd) noexcept;

  PyRef& handle_for(int event) noexcept { return event == EV_READ ? reader_ : writer_; }
  int events() const noexcept { return (reader_ ? EV_READ : 0) | (writer_ ? EV_WRITE : 0); }
  // Watches for what there are handles for.
  void update() noexcept;

  PyRef file;  // What the caller named the descriptor by: it may have been closed since.
  PyRef reader_;
  PyRef writer_;

 private:
  void on_ready(int events) noexcept;

  EventLoop& owner_;
  const int fd_;
  loop::IoWatcher<FdWatch, &FdWatch::on_ready> io_;
};

class FdWatches {
 public:
  explicit FdWatches(EventLoop& owner) noexcept : owner_(owner) {}

  // As _add_reader() and _add_writer(), by `event` EV_READ or EV_WRITE: returns the handle.
  // Throws PyError: OSError where the kernel cannot watch such a file.
  PyRef add(int event, PyObject* file, const Call& call);
  // False where there was none.
  bool remove(int event, PyObject* file);
  // The events that are watched; 0 for none.
  int events(PyObject* file);
  void clear() noexcept;
  int traverse(visitproc visit, void* arg) const noexcept;

 private:
  FdWatch* find(PyObject* file);
  FdWatch& make(int fd);

  EventLoop& owner_;
  std::vector<std::unique_ptr<FdWatch>> watches_;  // By descriptor.
};

// The descriptor of an int or of an object with fileno(). Throws PyError as asyncio does.
int descriptor_of(PyObject* file);

}  // namespace python
