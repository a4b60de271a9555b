#include "plugin/observe/block_watch.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <utility>

#include "plugin/loop/clock.h"
#include "plugin/observe/signal_log.h"
#include "plugin/python/gil.h"
#include "plugin/python/thread_state.h"
#include "plugin/python/virtual_thread.h"
#include "plugin/request/request_host.h"
#include "plugin/request/request_thread.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {
namespace {

// A real-time signal without a common use.
int look_signal() noexcept { return SIGRTMAX - 6; }

// What the loop's thread does: which turn it is, and since when, which is written before, so never too
// early for it. Written by that thread, read by the watchdog.
std::atomic<std::uint64_t> turn{0};
std::atomic<std::int64_t> began_ns{0};
std::atomic<bool> loop_sleeps{false};
std::atomic<bool> gil_wanted{false};

// The turn that a signal is sent for.
std::atomic<std::uint64_t> signalled{0};

// Held while a turn changes, and while the watchdog names one. Not by the handler: the watchdog does not
// name a turn that it has sent a signal for.
std::mutex naming;
std::atomic<bool> named{false};
SignalLine name;  // What has been named, until it lets go.

std::int64_t held_ns() noexcept { return loop::monotonic_ns() - began_ns.load(std::memory_order_relaxed); }

void say_who_holds(const RequestThread* running) noexcept {
  name = SignalLine();
  name_what_runs(name, running);
  SignalLine line;
  (line << "tornado: " << name.text() << " has held the loop for ").seconds(held_ns());
  line << " s without giving way; its Python stack:\n";
  line.write();
  named = true;
}

// The loop's thread, in what keeps the GIL.
void on_look(int) noexcept {
  const int error = errno;
  // It may have let go since the watchdog looked.
  const bool the_same = signalled.load(std::memory_order_relaxed) == turn.load(std::memory_order_relaxed);
  if (the_same && !named && !loop_sleeps.load(std::memory_order_relaxed)) {
    say_who_holds(RequestThread::current());
    dump_python_stack();
  }
  errno = error;
}

// The watchdog's thread. Does nothing when another turn has begun.
void say_that_gil_is_kept(std::uint64_t suspected) noexcept {
  const std::lock_guard<std::mutex> lock(naming);
  if (turn.load(std::memory_order_relaxed) != suspected) return;
  name = SignalLine();
  name << "another thread's code";
  SignalLine line;
  (line << "tornado: " << name.text() << " has kept the GIL from the loop for ").seconds(held_ns()) << " s\n";
  line.write();
  named = true;
}

// The same with the GIL: what holds the loop runs no Python, and its stack stands still.
void say_who_is_in_a_call(std::uint64_t suspected) noexcept {
  const std::lock_guard<std::mutex> lock(naming);
  if (turn.load(std::memory_order_relaxed) != suspected) return;
  const auto* const running = static_cast<const RequestThread*>(python::VirtualThread::running_on_loop());
  say_who_holds(running);
  dump_python_stack(running == nullptr ? python::Hub::instance()->state() : running->thread_state().get());
}

// What holds the loop runs no Python, and is not the loop that waits for the GIL after its poll.
bool gives_gil_up() noexcept {
  return !gil_wanted.load(std::memory_order_acquire) &&
         python::loop_threads_gil.load(std::memory_order_relaxed) == python::Gil::kGivenUp;
}

void log_end() noexcept {
  named = false;
  const std::string_view who = name.text();
  uwsgi_log("tornado: %.*s held the loop for %.3f s\n", static_cast<int>(who.size()), who.data(),
            static_cast<double>(held_ns()) / 1e9);
}

}  // namespace

BlockWatch::BlockWatch(double after_s, python::Watchdog& watchdog)
    : after_ns_(static_cast<std::int64_t>(after_s * loop::kSecondNs)) {
  if (after_ns_ == 0) return;
  handle_signal(look_signal(), on_look);
  began_ns = loop::monotonic_ns();
  watchdog.add(*this);
  on_ = true;
  RequestHost::tell_switches(note_change);
}

BlockWatch::~BlockWatch() {
  if (on_) stop_noting();
}

void BlockWatch::stop_noting() noexcept {
  on_ = false;
  RequestHost::tell_switches(nullptr);
}

// --- The loop's thread --------------------------------------------------------------------

void BlockWatch::note_change() noexcept {
  const std::lock_guard<std::mutex> lock(naming);
  if (named) log_end();
  gil_wanted.store(false, std::memory_order_relaxed);
  began_ns.store(loop::monotonic_ns(), std::memory_order_relaxed);
  loop_sleeps.store(false, std::memory_order_relaxed);
  turn.store(turn.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

void BlockWatch::note_asleep() noexcept {
  note_change();
  loop_sleeps.store(true, std::memory_order_release);
}

void BlockWatch::note_wants_gil() noexcept {
  note_change();
  gil_wanted.store(true, std::memory_order_release);
}

// --- The watchdog's -----------------------------------------------------------------------

bool BlockWatch::is_suspect(std::uint64_t seen) const noexcept {
  return seen != suspected_ && held_ns() >= after_ns_ && !loop_sleeps.load(std::memory_order_acquire);
}

std::int64_t BlockWatch::look(python::Watchdog& watchdog) {
  const std::uint64_t seen = turn.load(std::memory_order_acquire);
  if (is_suspect(seen) && gives_gil_up()) {
    suspected_ = seen;
    watchdog.take_gil();
    say_who_is_in_a_call(seen);
    watchdog.give_gil_back();
  } else {
    look_meanwhile();
  }
  const std::int64_t left_ns = after_ns_ - held_ns();
  return left_ns > 0 ? left_ns : after_ns_;
}

// One that has given the GIL up is found by the next look().
void BlockWatch::look_meanwhile() noexcept {
  const std::uint64_t seen = turn.load(std::memory_order_acquire);
  if (!is_suspect(seen) || gives_gil_up()) return;
  suspected_ = seen;
  if (gil_wanted.load(std::memory_order_acquire)) return say_that_gil_is_kept(seen);
  // If it comes too late for this one, another turn has begun.
  signalled.store(seen, std::memory_order_relaxed);
  const pid_t process = getpid();
  syscall(SYS_tgkill, process, process, look_signal());
}

}  // namespace engine
