#include "plugin/asyncio/event_loop_fd.h"

#include <sys/stat.h>

#include <cerrno>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/event_loop.h"

namespace python {
namespace {

// As epoll_ctl() would: libev puts its call off to the next poll, and takes regular files too.
loop::FileIdentity checked_to_be_watched(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0) raise_errno(errno);
  if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)) raise_errno(EPERM);
  return loop::FileIdentity(status);
}

// What will not be called any more. An operation learns nothing, as with asyncio.
void cancel(PyRef handle) {
  if (!handle) return;
  if (Handle* const of_ours = as_handle(handle.get())) of_ours->cancel();
}

}  // namespace

int descriptor_of(PyObject* file) {
  long fd;
  if (PyLong_Check(file)) {
    fd = PyLong_AsLong(file);
  } else {
    const PyRef number = PyRef::steal(PyObject_CallMethod(file, "fileno", nullptr));
    fd = number ? PyLong_AsLong(number.get()) : -1;
    if (PyErr_Occurred()) {
      if (!PyErr_ExceptionMatches(PyExc_AttributeError) && !PyErr_ExceptionMatches(PyExc_TypeError) &&
          !PyErr_ExceptionMatches(PyExc_ValueError)) {
        throw PyError{};
      }
      PyErr_Clear();
      raise(PyExc_ValueError, "Invalid file object: %R", file);
    }
  }
  if (fd < 0 || fd > INT_MAX) {
    if (PyErr_Occurred()) throw PyError{};
    raise(PyExc_ValueError, "Invalid file descriptor: %ld", fd);
  }
  return static_cast<int>(fd);
}

FdWatch::FdWatch(EventLoop& owner, int fd) noexcept : owner_(owner), fd_(fd), io_(owner.io().raw(), this) {}

void FdWatch::set_file(const loop::FileIdentity& identity) noexcept {
  if (identity_ != identity) io_.stop();
  if (events() != 0 && identity_ != identity) {
    for (PyRef* const stale : {&reader, &writer}) {
      cancel(std::move(*stale));
    }
  }
  identity_ = identity;
}

void FdWatch::update() {
  const bool registered = io_.active() && !closed() && identity_.is_socket();
  if (registered && (events() == 0 || events() == io_.events())) return;
  io_.stop();
  if (events() == 0) return end();
  // A loop of its own may run on another thread than the worker's.
  if (owner_.attached()) listen(fd_);
  io_.start(fd_, events(), identity_);
}

// A descriptor that was closed while watched is never ready again, as with epoll.
void FdWatch::on_ready(int events) noexcept {
  if (events & EV_ERROR) return;
  if (this->events() == 0) {
    io_.stop();
    return end();
  }
  if (writer && (events & EV_WRITE)) owner_.add_polled(writer);
  if (reader && (events & EV_READ)) owner_.add_polled(reader);
}

FdWatch& FdWatches::make(int fd) {
  const auto place = static_cast<std::size_t>(fd);
  if (place >= watches_.size()) watches_.resize(place + 1);
  if (!watches_[place]) watches_[place] = std::make_unique<FdWatch>(owner_, fd);
  return *watches_[place];
}

// A file that has been closed is found by its identity, as selectors do.
FdWatch* FdWatches::find(PyObject* file) {
  int fd;
  try {
    fd = descriptor_of(file);
  } catch (const PyError&) {
    if (!PyErr_ExceptionMatches(PyExc_ValueError)) throw;
    for (const auto& watch : watches_) {
      if (!watch || watch->file.get() != file) continue;
      PyErr_Clear();
      return watch.get();
    }
    throw;
  }
  const auto place = static_cast<std::size_t>(fd);
  return place < watches_.size() ? watches_[place].get() : nullptr;
}

void FdWatches::put(int event, int fd, PyObject* file, PyRef handle) {
  const loop::FileIdentity identity = checked_to_be_watched(fd);
  FdWatch& watch = make(fd);
  watch.set_file(identity);
  if (watch.events() == 0) watch.file = PyRef::borrow(file);
  PyRef replaced = std::exchange(watch.handle_for(event), std::move(handle));
  watch.update();
  cancel(std::move(replaced));
}

PyRef FdWatches::add(int event, PyObject* file, const Call& call) {
  PyRef handle = new_handle(handle_type(), owner_, owner_.self(), call);
  const FdWatch* const watch = find(file);
  put(event, watch == nullptr || watch->events() == 0 ? descriptor_of(file) : watch->fd(), file, handle);
  return handle;
}

void FdWatches::add_operation(int event, int fd, PyObject* file, PyRef operation) {
  put(event, fd, file, std::move(operation));
}

void FdWatches::take_out(FdWatch& watch, int event) {
  PyRef removed = std::move(watch.handle_for(event));
  watch.update();
  const PyRef dropped = watch.events() == 0 ? std::move(watch.file) : PyRef();
  cancel(std::move(removed));
}

bool FdWatches::remove(int event, PyObject* file) {
  FdWatch* const watch = find(file);
  if (watch == nullptr || !watch->handle_for(event)) return false;
  take_out(*watch, event);
  return true;
}

void FdWatches::remove_operation(int event, int fd, PyObject* operation) noexcept {
  if (is_for(event, fd, operation)) take_out(*watches_[static_cast<std::size_t>(fd)], event);
}

bool FdWatches::is_for(int event, int fd, PyObject* operation) const noexcept {
  return has(event, fd) && watches_[static_cast<std::size_t>(fd)]->handle_for(event).get() == operation;
}

bool FdWatches::has(int event, int fd) const noexcept {
  const auto place = static_cast<std::size_t>(fd);
  return place < watches_.size() && watches_[place] && (watches_[place]->events() & event) != 0;
}

PyRef FdWatches::key(PyObject* file) {
  static_assert(EV_READ == 1 && EV_WRITE == 2, "as selectors.EVENT_READ and EVENT_WRITE");
  const FdWatch* watch = find(file);
  if (watch == nullptr || watch->events() == 0) return {};
  PyObject* const reader = watch->reader ? watch->reader.get() : Py_None;
  PyObject* const writer = watch->writer ? watch->writer.get() : Py_None;
  return py_check(PyObject_CallFunction(asyncio_names().selector_key, "Oii(OO)", watch->file.get(),
                                        watch->fd(), watch->events(), reader, writer));
}

void FdWatches::clear() noexcept {
  std::vector<std::unique_ptr<FdWatch>> watches;
  watches.swap(watches_);
}

int FdWatches::traverse(visitproc visit, void* arg) const noexcept {
  for (const auto& watch : watches_) {
    if (!watch) continue;
    Py_VISIT(watch->file.get());
    Py_VISIT(watch->reader.get());
    Py_VISIT(watch->writer.get());
  }
  return 0;
}

}  // namespace python
