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

void TimerHeap::remove(Handle& handle) noexcept { take(static_cast<std::size_t>(handle.state.scheduled_at)); }

PyRef TimerHeap::take_earliest() noexcept { return take(0); }

// The last entry fills the gap. It is one of the latest mostly, so the gap goes down first and the entry
// up from there: half the comparisons of an entry that goes down itself.
PyRef TimerHeap::take(std::size_t place) noexcept {
  assert(place < entries_.size());
  Handle* const taken = entries_[place].handle;
  const Entry last = entries_.back();
  entries_.pop_back();
  if (last.handle != taken) sift_up(sink(place), last);
  taken->state.scheduled_at = HandleState::kNotScheduled;
  return PyRef::steal(taken->object());
}

// Moves the gap at `place` to the bottom, and returns its new place.
std::size_t TimerHeap::sink(std::size_t place) noexcept {
  const std::size_t size = entries_.size();
  for (std::size_t child; (child = 2 * place + 1) < size; place = child) {
    if (child + 1 < size && entries_[child + 1] < entries_[child]) ++child;
    put(place, entries_[child]);
  }
  return place;
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

void TimerHeap::clear() noexcept {
  std::vector<Entry> entries;
  entries.swap(entries_);
  for (const Entry& entry : entries) entry.handle->state.scheduled_at = HandleState::kNotScheduled;
  for (const Entry& entry : entries) PyRef::steal(entry.handle->object());
}

void TimerHeap::drop() noexcept {
  std::vector<Entry> entries;
  entries.swap(entries_);
  for (const Entry& entry : entries) entry.handle->state.scheduled_at = HandleState::kNotScheduled;
  for (const Entry& entry : entries) {
    const PyRef handle = PyRef::steal(entry.handle->object());
    entry.handle->drop();
  }
}

int TimerHeap::traverse(visitproc visit, void* arg) const noexcept {
  for (const Entry& entry : entries_) Py_VISIT(entry.handle);
  return 0;
}

}  // namespace python
