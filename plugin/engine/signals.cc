#include "plugin/engine/signals.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <new>
#include <utility>

#include "plugin/engine/engine.h"
#include "plugin/request/request_thread.h"
#include "suspend/baton.h"

namespace engine {

// A request that waits for a signal.
struct Signals::Waiter {
  suspend::Baton baton;
  const int number;
  int received = -1;
};

Signals::Signals(Engine& engine) noexcept
    : engine_(engine),
      shared_(engine.loop().raw(), this),
      own_(engine.loop().raw(), this),
      dump_wanted_(engine.loop().raw(), this) {}

Signals::~Signals() = default;

void Signals::start() noexcept {
  if (uwsgi.signal_socket > -1) {
    shared_.start(uwsgi.signal_socket, EV_READ);
    own_.start(uwsgi.my_signal_socket, EV_READ);
  }
  // uWSGI's own handler for it prints a line for each core, whatever they were doing.
  dump_wanted_.start(SIGUSR2);
  // A client that leaves is an errno of the write, not a reason to die.
  signal(SIGPIPE, SIG_IGN);
}

void Signals::stop() noexcept {
  shared_.stop();
  own_.stop();
  for (Waiter* waiter : std::exchange(waiters_, {})) {
    waiter->baton.post_next_turn();
  }
}

int Signals::wait(RequestThread& thread, int number) noexcept {
  if (!shared_.active()) return -1;
  Waiter waiter{{thread.fiber(), "signal", suspend::Abort::kAllowed}, number};
  waiters_.push_back(&waiter);
  if (waiter.baton.wait() == suspend::Woken::kInterrupted)
    waiters_.erase(std::find(waiters_.begin(), waiters_.end(), &waiter));
  return waiter.received;
}

void Signals::on_signal_socket(int) noexcept { handle(&uwsgi.signal_socket); }
void Signals::on_my_signal_socket(int) noexcept { handle(&uwsgi.my_signal_socket); }

void Signals::on_dump_wanted() noexcept { engine_.fiber_dump().log(); }

void Signals::handle(int* signal_socket) noexcept {
  try {
    engine_.spawned_threads().spawn(
        [](void* socket) noexcept {
          if (Engine* engine = Engine::instance()) engine->signals().receive(*static_cast<int*>(socket));
        },
        signal_socket);
  } catch (const std::bad_alloc&) {
    // The signal stays in its socket; the next turn tries again.
  }
}

namespace {

template <typename Entry>
bool has_signal(const Entry* entries, int count, std::uint8_t number) noexcept {
  return std::any_of(entries, entries + count, [=](const Entry& entry) { return entry.sig == number; });
}

// It is raised again and again, whether anybody has taken the last or not.
bool comes_by_the_clock(std::uint8_t number) noexcept {
  return has_signal(ushared->timers, ushared->timers_cnt, number) ||
         has_signal(ushared->rb_timers, ushared->rb_timers_cnt, number) ||
         has_signal(ushared->cron, ushared->cron_cnt, number);
}

}  // namespace

// Reads the signal before anything can wait, so the socket is not seen ready twice.
void Signals::receive(int signal_socket) noexcept {
  auto* const name = const_cast<char*>("worker");
  std::uint8_t number;
  const ssize_t count = read(signal_socket, &number, 1);
  // The master has gone, which uWSGI sees for itself.
  if (count == 0) uwsgi_receive_signal(signal_socket, name, uwsgi.mywid);
  if (count <= 0) return;
  if (comes_by_the_clock(number)) handle_tick(number);
  else run_handler(number);
}

// A handler that takes longer than the period has one behind it at most: they would pile up without bound,
// and the end of the worker would wait for them all.
void Signals::handle_tick(std::uint8_t number) noexcept {
  Ticks& ticks = ticks_[number];
  if (ticks.handled) {
    ticks.waits = true;
    return;
  }
  ticks.handled = true;
  do {
    ticks.waits = false;
    run_handler(number);
  } while (ticks.waits && shared_.active());  // A worker that ends begins no other.
  ticks.handled = false;
}

void Signals::run_handler(std::uint8_t number) noexcept {
  if (uwsgi_signal_handler(number) != 0) {
    uwsgi_log_verbose("error managing signal %d on worker %d\n", number, uwsgi.mywid);
  }
  end_waits(number);
}

void Signals::end_waits(int number) noexcept {
  const auto still_waits = [=](const Waiter* waiter) {
    return waiter->number != kAny && waiter->number != number;
  };
  const auto ended = std::stable_partition(waiters_.begin(), waiters_.end(), still_waits);
  for (auto waiter = ended; waiter != waiters_.end(); ++waiter) {
    (*waiter)->received = number;
    (*waiter)->baton.post_next_turn();
  }
  waiters_.erase(ended, waiters_.end());
}

}  // namespace engine
