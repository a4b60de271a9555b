#include "plugin/observe/block_watch.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "plugin/blocking/descriptors.h"
#include "plugin/blocking/real.h"
#include "plugin/blocking/signal_mask.h"
#include "plugin/loop/clock.h"
#include "plugin/observe/signal_log.h"
#include "plugin/request/request_host.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {
namespace {

// Of the real-time signals, which nobody has a name for.
int look_signal() noexcept { return SIGRTMAX - 6; }

// Written by the loop's thread, read by the watchdog, too: which turn it is, and since when, which
// is written before, so never too early for it.
std::atomic<std::uint64_t> turn{0};
std::atomic<std::int64_t> began_ns{0};
std::atomic<bool> loop_sleeps{false};

// Which turn the watchdog found too long, and how long that is.
std::atomic<std::uint64_t> suspected{0};
std::atomic<std::int64_t> too_long_ns{0};

// The loop's thread and its handler only. What has been named, until it lets go; null: nothing.
volatile bool named = false;
SignalLine name;
volatile bool gil_wanted = false;

void name_holder() noexcept {
  name = SignalLine();
  if (gil_wanted) name << "another thread's code";
  else name_what_runs(name);
}

// In the handler.
void warn(std::int64_t held_ns) noexcept {
  name_holder();
  SignalLine line;
  line << "tornado: " << name.text();
  if (gil_wanted) {
    (line << " has kept the GIL from the loop for ").seconds(held_ns) << " s\n";
    line.write();
    return;
  }
  (line << " has held the loop for ").seconds(held_ns) << " s without giving way; its Python stack:\n";
  line.write();
  dump_python_stack();
}

void on_look(int) noexcept {
  const int error = errno;
  const std::int64_t held_ns = loop::monotonic_ns() - began_ns.load(std::memory_order_relaxed);
  // It may have let go since the watchdog looked.
  const bool the_same = suspected.load(std::memory_order_relaxed) == turn.load(std::memory_order_relaxed);
  if (the_same && !named && !loop_sleeps.load(std::memory_order_relaxed) && held_ns >= too_long_ns.load(std::memory_order_relaxed)) {
    named = true;
    warn(held_ns);
  }
  errno = error;
}

void log_end(std::int64_t held_ns) noexcept {
  named = false;
  const std::string_view who = name.text();
  uwsgi_log("tornado: %.*s held the loop for %.3f s\n", static_cast<int>(who.size()), who.data(),
            static_cast<double>(held_ns) / 1e9);
}

}  // namespace

BlockWatch::BlockWatch(double after_s) : after_ns_(static_cast<std::int64_t>(after_s * loop::kSecondNs)) {
  if (after_ns_ == 0) return;
  handle_signal(look_signal(), on_look);
  sem_init(&bell_, 0, 0);
  too_long_ns = after_ns_;
  began_ns = loop::monotonic_ns();
  {
    const blocking::SignalsBlocked for_the_watchdog;
    watchdog_ = std::thread([this] { watch(); });
  }
  on_ = true;
  RequestHost::tell_switches(note_change);
}

BlockWatch::~BlockWatch() {
  if (!watchdog_.joinable()) return;
  stop_noting();
  stopping_ = true;
  blocking::real::sem_post(&bell_);
  watchdog_.join();
}

void BlockWatch::stop_noting() noexcept {
  on_ = false;
  RequestHost::tell_switches(nullptr);
}

// --- The loop's thread --------------------------------------------------------------------

void BlockWatch::note_change() noexcept {
  const std::int64_t now = loop::monotonic_ns();
  if (named) log_end(now - began_ns.load(std::memory_order_relaxed));
  gil_wanted = false;
  began_ns.store(now, std::memory_order_relaxed);
  loop_sleeps.store(false, std::memory_order_relaxed);
  turn.store(turn.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

void BlockWatch::note_asleep() noexcept {
  note_change();
  loop_sleeps.store(true, std::memory_order_release);
}

void BlockWatch::note_wants_gil() noexcept {
  note_change();
  gil_wanted = true;
}

// --- The watchdog's -----------------------------------------------------------------------

void BlockWatch::watch() noexcept {
  pthread_setname_np(pthread_self(), "uwsgi-blockwatch");
  blocking::leave_descriptors();
  const pid_t process = getpid();
  while (!stopping_) {
    const std::uint64_t seen = turn.load(std::memory_order_acquire);
    const std::int64_t left_ns = began_ns.load(std::memory_order_relaxed) + after_ns_ - loop::monotonic_ns();
    const bool is_long = !loop_sleeps.load(std::memory_order_acquire) && left_ns <= 0;
    // Sent once; if it comes too late for this one, another turn has begun.
    if (is_long && suspected.exchange(seen) != seen) syscall(SYS_tgkill, process, process, look_signal());
    sleep(is_long || left_ns <= 0 ? after_ns_ : left_ns);
  }
}

void BlockWatch::sleep(std::int64_t ns) noexcept {
  const timespec until = loop::to_timespec(loop::monotonic_ns() + ns);
  blocking::real::sem_clockwait(&bell_, CLOCK_MONOTONIC, &until);
}

}  // namespace engine
