// The bytes that a transport has still to send.
#pragma once

#include <Python.h>
#include <sys/uio.h>

#include <cstddef>
#include <vector>

#include "plugin/python/py_ref.h"

namespace python {

// Objects of type bytes, in the order in which they are written. Their memory is not copied.
class WriteQueue {
 public:
  bool empty() const noexcept { return size_ == 0; }
  // In bytes.
  std::size_t size() const noexcept { return size_; }
  std::size_t pieces() const noexcept { return pieces_.size() - first_; }
  // Bytes before `from` have been sent already. REQUIRES: exactly of type bytes, and longer than `from`.
  void push(PyRef bytes, std::size_t from = 0);
  // Appends all that `other` has.
  void take(WriteQueue&& other);
  // Fills in the addresses of up to `most` pieces, and returns how many. Valid until the queue changes.
  std::size_t front(iovec* pieces, std::size_t most) const noexcept;
  // REQUIRES: `count` is at most size().
  void drop_front(std::size_t count) noexcept;
  void clear() noexcept;
  // One object with all of it. Throws PyError.
  PyRef joined() const;

 private:
  struct Piece {
    PyRef bytes;
    std::size_t from;

    std::size_t size() const noexcept {
      return static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.get())) - from;
    }
    char* data() const noexcept { return PyBytes_AS_STRING(bytes.get()) + from; }
  };

  std::vector<Piece> pieces_;
  std::size_t first_ = 0;  // Those before it have been sent.
  std::size_t size_ = 0;
};

}  // namespace python
