#include "plugin/asyncio/timer_heap.h"

#include <cmath>
#include <limits>

namespace python {

void TimerHeap::add(Handle& handle) {
  assert(handle.state.scheduled_at == HandleState::kNotScheduled);
  const double when = handle.state.when;
  const Entry entry = {std::isnan(when) ? -std::numeric_limits<double>::infinity() : when, added_, &handle};
  entries_.push_back(entry);
  ++added_;
  static_cast<void>(PyRef::borrow(handle.object()).release());
  sift_up(entries_.size() - 1, entry);
}

void TimerHeap::remove(Handle& handle) noexcept {
  take(static_cast<std::size_t>(handle.state.scheduled_at));
}

PyRef TimerHeap::take_earliest() noexcept { return take(0); }

// The last entry fills the gap.
PyRef TimerHeap::take(std::size_t place) noexcept {
  assert(place < entries_.size());
  Handle* const taken = entries_[place].handle;
  const Entry last = entries_.back();
  entries_.pop_back();
  if (last.handle != taken) {
    if (place > 0 && last < entries_[(place - 1) / 2]) sift_up(place, last);
    else sift_down(place, last);
  }
  taken->state.scheduled_at = HandleState::kNotScheduled;
  return PyRef::steal(taken->object());
}

void TimerHeap::put(std::size_t place, const Entry& entry) noexcept {
  entries_[place] = entry;
  entry.handle->state.scheduled_at = static_cast<std::ptrdiff_t>(place);
}

void TimerHeap::sift_up(std::size_t place, const Entry& entry) noexcept {
  while (place > 0) {
    const std::size_t parent = (place - 1) / 2;
    if (!(entry < entries_[parent])) break;
    put(place, entries_[parent]);
    place = parent;
  }
  put(place, entry);
}

void TimerHeap::sift_down(std::size_t place, const Entry& entry) noexcept {
  for (std::size_t child; (child = 2 * place + 1) < entries_.size(); place = child) {
    if (child + 1 < entries_.size() && entries_[child + 1] < entries_[child]) ++child;
    if (!(entries_[child] < entry)) break;
    put(place, entries_[child]);
  }
  put(place, entry);
}

void TimerHeap::clear() noexcept {
  std::vector<Entry> entries;
  entries.swap(entries_);
  for (const Entry& entry : entries) entry.handle->state.scheduled_at = HandleState::kNotScheduled;
  for (const Entry& entry : entries) PyRef::steal(entry.handle->object());
}

int TimerHeap::traverse(visitproc visit, void* arg) const noexcept {
  for (const Entry& entry : entries_) Py_VISIT(entry.handle);
  return 0;
}

}  // namespace python
