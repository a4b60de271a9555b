// Counts how often each call suspended a request or blocked the worker, and why.
#pragma once

#include <cstdint>

namespace blocking {

// Why a call made by a request was not allowed to suspend it.
enum class Refusal { kNone, kGilHeld, kGuarded };
constexpr int kRefusals = 3;
const char* name_of(Refusal why) noexcept;

// What one call has done in this worker. The loop's thread only.
struct Tally {
  explicit Tally(const char* call_name) noexcept;

  const char* const name;
  std::uint64_t suspended = 0;            // Times it suspended a request.
  std::uint64_t blocked[kRefusals] = {};  // Times it blocked the worker, by why.

  // Every tally of the process, as a list.
  static const Tally* first() noexcept;
  const Tally* next = nullptr;
};

// If a request's call blocked the worker, notes that, and why the call was not allowed to suspend.
class NativeCall {
 public:
  explicit NativeCall(Tally& tally) noexcept;
  ~NativeCall() {
    if (watched_) note();
  }
  NativeCall(const NativeCall&) = delete;
  NativeCall& operator=(const NativeCall&) = delete;

 private:
  void note() noexcept;

  Tally& tally_;
  bool watched_ = false;
  Refusal why_ = Refusal::kNone;
  std::int64_t started_ns_ = 0;
};

// Makes libc's call, and measures how long it takes if a request makes it.
template <typename Native>
auto natively(Tally& tally, Native native) noexcept {
  const NativeCall watch(tally);
  return native();
}

}  // namespace blocking
