#include "plugin/asyncio/write_queue.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

namespace python {
namespace {

// So many pieces that have been sent are kept in front of the others before these move up.
constexpr std::size_t kSentKeptMost = 64;

}  // namespace

void WriteQueue::push(PyRef bytes, std::size_t from) {
  assert(PyBytes_CheckExact(bytes.get()));
  pieces_.push_back({std::move(bytes), from});
  assert(pieces_.back().size() > 0);
  size_ += pieces_.back().size();
}

void WriteQueue::take(WriteQueue&& other) {
  if (empty()) return std::swap(*this, other);
  for (std::size_t i = other.first_; i < other.pieces_.size(); ++i) {
    push(std::move(other.pieces_[i].bytes), other.pieces_[i].from);
  }
  other.clear();
}

std::size_t WriteQueue::front(iovec* pieces, std::size_t most) const noexcept {
  const std::size_t count = std::min(most, this->pieces());
  for (std::size_t i = 0; i < count; ++i) {
    const Piece& piece = pieces_[first_ + i];
    pieces[i] = {piece.data(), piece.size()};
  }
  return count;
}

void WriteQueue::drop_front(std::size_t count) noexcept {
  assert(count <= size_);
  size_ -= count;
  while (count > 0) {
    Piece& piece = pieces_[first_];
    if (count < piece.size()) {
      piece.from += count;
      break;
    }
    count -= piece.size();
    piece.bytes = {};
    ++first_;
  }
  if (size_ == 0) return clear();
  if (first_ < kSentKeptMost || first_ * 2 < pieces_.size()) return;
  pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<std::ptrdiff_t>(first_));
  first_ = 0;
}

void WriteQueue::clear() noexcept {
  pieces_.clear();
  first_ = 0;
  size_ = 0;
}

PyRef WriteQueue::joined() const {
  PyRef all = py_check(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size_)));
  char* to = PyBytes_AS_STRING(all.get());
  for (std::size_t i = first_; i < pieces_.size(); ++i) {
    std::memcpy(to, pieces_[i].data(), pieces_[i].size());
    to += pieces_[i].size();
  }
  return all;
}

}  // namespace python
