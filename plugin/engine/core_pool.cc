#include "plugin/engine/core_pool.h"

#include <algorithm>
#include <cmath>

#include "plugin/loop/clock.h"

namespace engine {
namespace {

// How long a connection may leave its core without a whole request when others wait for one. The
// second, when part of one has come on more than half of the cores: clients send a request at once,
// so these are no slow ones.
constexpr double kStalledS = 1;
constexpr double kStalledInCrowdS = 0.1;

// How long the first of `connections` has left of `limit_s`.
double left_s(const CorePool::Connections& connections, double limit_s, double now) noexcept {
  if (connections.empty()) return HUGE_VAL;
  const double left_s = connections.front()->incomplete_since() + limit_s - now;
  return left_s < 0.001 ? 0 : left_s;
}

}  // namespace

bool CorePool::has_room() const noexcept {
  return uwsgi.async_queue_unused_ptr >= 0 || !idle_.empty() || connection_stalled_in_s() == 0;
}

Core* CorePool::take_free() noexcept {
  wsgi_request* request = find_first_available_wsgi_req();
  if (request == nullptr) return nullptr;
  publish_load();
  return &of(request);
}

void CorePool::publish_load() noexcept {
  if (!left_) loads_.publish(taken());
}

Core* CorePool::make_room() noexcept {
  Core* const idle = take_idle();
  return idle != nullptr ? idle : take_stalled();
}

// The longest idle goes, but none whose next request has just come.
Core* CorePool::take_idle() noexcept {
  const auto quiet = std::find_if(idle_.begin(), idle_.end(), [](const Core* core) { return core->quiet(); });
  if (quiet == idle_.end()) return nullptr;
  (*quiet)->close_idle_connection();
  return take_free();
}

// Null, too, when that core is free in a moment only.
Core* CorePool::take_stalled() noexcept {
  if (connection_stalled_in_s() != 0) return nullptr;
  if (const int times = stalled_closed_.times()) {
    uwsgi_log(
        "tornado: all %d cores busy: closed %d connection%s without a complete request, to serve clients "
        "that wait\n",
        uwsgi.async, times, times == 1 ? "" : "s");
  }
  Connections& stalled = slow_header_in_s() == 0 ? slow_header_ : no_bytes_;
  stalled.front()->close_incomplete_request();
  return take_free();
}

double CorePool::connection_stalled_in_s() const noexcept {
  return std::min(slow_header_in_s(), no_bytes_in_s());
}

double CorePool::slow_header_in_s() const noexcept {
  const bool crowd = slow_header_.size() > static_cast<std::size_t>(uwsgi.async) / 2;
  return left_s(slow_header_, crowd ? kStalledInCrowdS : kStalledS, loop::monotonic_s());
}

double CorePool::no_bytes_in_s() const noexcept { return left_s(no_bytes_, kStalledS, loop::monotonic_s()); }

// Last in, first out, so that few cores stay warm. One that could get no stack comes after all others:
// they may have theirs.
void CorePool::give_back(Core& core) noexcept {
  wsgi_request** const free_cores = uwsgi.async_queue_unused;
  const int top = ++uwsgi.async_queue_unused_ptr;
  if (core.lacks_stack()) {
    std::copy_backward(free_cores, free_cores + top, free_cores + top + 1);
    free_cores[0] = core.request();
  } else {
    free_cores[top] = core.request();
  }
  publish_load();
}

void CorePool::leave() noexcept {
  left_ = true;
  loads_.leave();
}

}  // namespace engine
