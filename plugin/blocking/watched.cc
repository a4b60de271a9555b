#include "plugin/blocking/watched.h"

namespace blocking {

void Wait::end_soon() noexcept {
  if (pending_) return;
  pending_ = true;
  gate_loop().add_callback({[](void* self) noexcept {
                              auto* wait = static_cast<Wait*>(self);
                              wait->pending_ = false;
                              wait->end();
                            },
                            this});
}

Woken Wait::park_until(Deadline deadline) noexcept {
  if (interrupted()) return Woken::kInterrupted;
  if (!deadline.is_never()) timer_.start(deadline.left_s());
  park(fiber());
  timer_.stop();
  if (interrupted()) return Woken::kInterrupted;
  return timed_out_ ? Woken::kTimedOut : Woken::kReady;
}

}  // namespace blocking
