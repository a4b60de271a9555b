#include "suspend/baton.h"

#include <cassert>
#include <utility>

namespace suspend {

Woken Baton::wait() noexcept {
  assert(Fiber::current() == &fiber_);
  if (abort_ == Abort::kAllowed && fiber_.interrupt().in_force()) claim(Woken::kInterrupted);
  if (woken() == Woken::kNotYet || woken() == kOnItsWay) {
    fiber_.waiting_ = this;
    fiber_.observer_.park(fiber_);
    fiber_.waiting_ = nullptr;
  }
  assert(woken() != Woken::kNotYet && woken() != kOnItsWay);
  if (woken() == Woken::kInterrupted) fiber_.interrupt().met_ = true;
  return woken();
}

bool Baton::post(Woken how) noexcept {
  if (Fiber::current() != nullptr && fiber_.waiting_ == this) return post_next_turn(how);
  if (!claim(how)) return false;
  resume_if_waiting();
  return true;
}

bool Baton::post_next_turn(Woken how) noexcept {
  Resumer* const resumer = Resumer::installed_.load(std::memory_order_acquire);
  if (resumer == nullptr || !claim(kOnItsWay)) return false;
  delivered_as_ = how;
  resumer->next_turn(*this);
  return true;
}

bool Baton::post_soon() noexcept {
  Resumer* const resumer = Resumer::installed_.load(std::memory_order_acquire);
  if (resumer == nullptr || !claim(kOnItsWay)) return false;
  resumer->push(*this);
  return true;
}

// A fiber that suspended in something else before its wait finds the post when the wait begins.
void Baton::resume_if_waiting() noexcept {
  if (fiber_.waiting_ == this) fiber_.resume();  // Which may be the end of this.
}

void Baton::deliver() noexcept {
  woken_.store(delivered_as_, std::memory_order_release);
  resume_if_waiting();
}

void Interrupt::begin(Fiber& fiber) noexcept {
  assert(Fiber::current() == nullptr);
  wanted_ = true;
  Baton* const baton = fiber.waiting_;
  if (baton == nullptr || !in_force() || baton->abort_ == Abort::kNever) return;
  if (baton->claim(Woken::kInterrupted)) fiber.resume();
}

void Resumer::push(Baton& baton) noexcept {
  Baton* before = posted_.load(std::memory_order_relaxed);
  do {
    baton.next_ = before;
  } while (
      !posted_.compare_exchange_weak(before, &baton, std::memory_order_release, std::memory_order_relaxed));
  // `baton` may be gone by now.
  if (before == nullptr) ring();
}

// Those posted meanwhile wait for the next call, or two fibers that post each other would keep the loop from
// everything else. A fiber that is resumed may have the loop turn: that call takes over what is left.
void Resumer::deliver_posted() noexcept {
  Baton* in_order = nullptr;
  for (Baton* last = posted_.exchange(nullptr, std::memory_order_acquire); last != nullptr;) {
    Baton* const one = std::exchange(last, last->next_);
    one->next_ = std::exchange(in_order, one);
  }
  Baton** end = &in_order_;
  while (*end != nullptr) end = &(*end)->next_;
  *end = in_order;
  while (in_order_ != nullptr) {
    Baton& first = *std::exchange(in_order_, in_order_->next_);
    first.deliver();
  }
}

}  // namespace suspend
