#include "plugin/blocking/gate.h"

#include <unistd.h>

#include <atomic>
#include <cassert>
#include <memory>

#include "plugin/blocking/closing.h"
#include "plugin/blocking/error_numbers.h"
#include "plugin/blocking/kept_back.h"
#include "plugin/blocking/registered_sockets.h"
#include "plugin/blocking/signal_mask.h"
#include "plugin/loop/watcher.h"
#include "suspend/baton.h"

namespace blocking {
namespace {

// Opened and closed by the loop's thread, asked for on any.
std::atomic<Gate*> open_gate_{nullptr};
std::atomic<loop::IoLoop*> open_loop_{nullptr};
std::atomic<pid_t> open_in_{0};

class LoopResumer final : public suspend::Resumer {
 public:
  explicit LoopResumer(loop::IoLoop& loop) noexcept : loop_(loop), doorbell_(loop.raw(), this) {
    doorbell_.start();
  }

 private:
  void next_turn(suspend::Baton& baton) noexcept override {
    loop_.add_callback(
        {[](void* posted) noexcept { deliver(*static_cast<suspend::Baton*>(posted)); }, &baton});
  }
  void ring() noexcept override { doorbell_.send(); }
  void on_rung() noexcept { deliver_posted(); }

  loop::IoLoop& loop_;
  loop::AsyncWatcher<LoopResumer, &LoopResumer::on_rung> doorbell_;
};

// While the gate is open.
std::unique_ptr<LoopResumer> resumer;

void install_resumer(loop::IoLoop* loop) noexcept {
  suspend::Resumer::install(nullptr);
  resumer.reset();
  if (loop == nullptr) return;
  resumer = std::make_unique<LoopResumer>(*loop);
  suspend::Resumer::install(resumer.get());
}

}  // namespace

void open_gate(Gate* gate, loop::IoLoop* loop) noexcept {
  assert((gate == nullptr) == (loop == nullptr));
  open_in_.store(getpid(), std::memory_order_relaxed);
  if (gate != nullptr) {
    note_loops_signal_mask();
    prepare_to_close();
    open_loop_.store(loop, std::memory_order_release);
  }
  open_gate_.store(gate, std::memory_order_release);
  if (gate == nullptr) open_loop_.store(nullptr, std::memory_order_release);
  register_sockets_with(loop);
  install_resumer(loop);
  gate_thread.store(gate == nullptr ? 0 : suspend::Fiber::os_thread(), std::memory_order_relaxed);
}

bool in_own_process() noexcept { return getpid() == open_in_.load(std::memory_order_relaxed); }

Gate* gate() noexcept {
  return signal_handlers_running > 0 ? nullptr : open_gate_.load(std::memory_order_acquire);
}

bool gate_is_open() noexcept { return open_gate_.load(std::memory_order_acquire) != nullptr; }

loop::IoLoop& gate_loop() noexcept {
  loop::IoLoop* const loop = open_loop_.load(std::memory_order_acquire);
  assert(loop != nullptr);
  return *loop;
}

void release_kept_back(KeptBack& kept) noexcept {
  if (!on_loop_thread() || suspend::Fiber::current() != nullptr || gate() == nullptr || !in_own_process())
    return;
  const ErrorNumbers saved = ErrorNumbers::of_this_thread();
  kept.release();
  saved.set();
}

void post_to_loop(loop::Callback callback) noexcept {
  loop::IoLoop* const loop = open_loop_.load(std::memory_order_acquire);
  if (loop != nullptr) loop->add_callback_threadsafe(callback);
}

}  // namespace blocking
