#include "plugin/asgi/gathering.h"

#include <Python.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <vector>

#include "plugin/asgi/connection.h"
#include "plugin/blocking/gate.h"
#include "plugin/loop/clock.h"
#include "plugin/python/virtual_thread.h"

namespace asgi {
namespace {

std::vector<Connection*> gathering;     // The loop's thread.
std::atomic<std::int64_t> since_ns{0};  // Since when, or since they were sent last; 0: there is none.

// CPython calls it on its main thread, which may be a fiber for a moment (docs/invariants.md).
int send_all(void*) noexcept {
  if (!blocking::on_loop_thread() || python::VirtualThread::current() != nullptr) return 0;
  for (std::size_t i = 0; i < gathering.size(); ++i) gathering[i]->send_gathered();
  if (!gathering.empty()) since_ns = loop::monotonic_ns();
  python::Watchdog::wake();
  return 0;
}

}  // namespace

Gathering::Gathering(double quantum_s, python::Watchdog& watchdog)
    : quantum_ns_(static_cast<std::int64_t>(quantum_s * 1e9)) {
  if (quantum_ns_ > 0) watchdog.add(*this);
}

void Gathering::begin(Connection& connection) {
  gathering.push_back(&connection);
  if (since_ns.load(std::memory_order_relaxed) != 0) return;
  since_ns = loop::monotonic_ns();
  python::Watchdog::wake();
}

void Gathering::end(Connection& connection) noexcept {
  gathering.erase(std::remove(gathering.begin(), gathering.end(), &connection), gathering.end());
  if (gathering.empty()) since_ns.store(0, std::memory_order_relaxed);
}

bool Gathering::is_news() const noexcept {
  const std::int64_t since = since_ns.load();
  return since != 0 && since != seen_ns_;  // A quantum that has begun is slept through.
}

// A pending call of another thread alone does not interrupt the main thread up to CPython 3.11: its eval loop
// looks when a thread waits for the GIL.
std::int64_t Gathering::look(python::Watchdog& watchdog) {
  const std::int64_t since = since_ns.load();
  seen_ns_ = since;
  if (since == 0 || since == asked_for_ns_) return python::Watchdog::kWithOthers;
  const std::int64_t left_ns = since + quantum_ns_ - loop::monotonic_ns();
  if (left_ns > 0) return left_ns;
  if (Py_AddPendingCall(send_all, nullptr) != 0) return quantum_ns_;  // Its queue is full.
  asked_for_ns_ = since;
  watchdog.take_gil();
  watchdog.give_gil_back();
  return python::Watchdog::kWithOthers;
}

}  // namespace asgi
