#include "plugin/engine/listeners.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "plugin/loop/clock.h"
#include "plugin/observe/timings.h"
#include "plugin/request/request_host.h"
#include "plugin/uwsgi/options.h"

namespace engine {
namespace {

// How many connections one wake-up may take, and for how long, as each of their requests begins at once:
// enough that under load the poll is shared by many, and what becomes due or ready meanwhile waits no longer
// than that.
constexpr int kAcceptsPerWakeUp = 32;
constexpr double kAcceptsS = 0.005;

// A worker that has more than its share waits that long for the others, and then takes some, each time
// twice as many as before: they may be computing.
constexpr double kOthersFirstS = 0.001;

constexpr double kRestS = 0.5;

// How often to look whether the other workers are overloaded too.
constexpr double kOthersLookS = 0.05;

bool is_readable(int fd) noexcept {
  pollfd look{fd, POLLIN, 0};
  return poll(&look, 1, 0) > 0;
}

// Nothing there any more, or one that left meanwhile.
bool says_none(int error) noexcept {
  return error == 0 || error == EAGAIN || error == EWOULDBLOCK || error == ECONNABORTED || error == EINTR;
}

}  // namespace

Listeners::Listener::Listener(Listeners& owner, uwsgi_socket* of)
    : listeners(owner),
      socket(of),
      no_memory(refusal(*of, 503)),
      overloaded(options().overload_status == 0 ? "" : refusal(*of, options().overload_status)),
      acceptable(owner.loop_.raw(), this) {
  if (options().server_timing) add_server_timing(*socket);
  protocol_close = socket->proto_close;
  socket->proto_close = close_connection;
  acceptable.come_last();  // Requests that go on come first.
}

Listeners::Listeners(loop::IoLoop& loop, CorePool& pool, Metrics& metrics, ConnectionObserver& observer)
    : loop_(loop),
      pool_(pool),
      metrics_(metrics),
      observer_(observer),
      overload_(*this, options().overload_status == 0 ? -1 : options().overload_wait_s),
      refusals_(loop.raw()),
      rest_(loop.raw(), this),
      look_again_(loop.raw(), this),
      others_first_(loop.raw(), this),
      overload_due_(loop.raw(), this) {
  of_this_worker_ = this;
  for (uwsgi_socket* socket = uwsgi.sockets; socket != nullptr; socket = socket->next) {
    listeners_.push_back(std::make_unique<Listener>(*this, socket));
  }
}

Listeners::Listener* Listeners::listener_of(const wsgi_request* request) noexcept {
  const auto found = std::find_if(listeners_.begin(), listeners_.end(), [request](const auto& listener) {
    return listener->socket == request->socket;
  });
  return found == listeners_.end() ? nullptr : found->get();
}

// What each socket has for its proto_close. A child of the worker has no requests, but connections.
void Listeners::close_connection(wsgi_request* request) noexcept {
  Listeners& listeners = *of_this_worker_;
  const bool in_worker = RequestHost::instance() != nullptr;
  if (in_worker) listeners.observer_.connection_ends(request);
  if (Listener* listener = listeners.listener_of(request)) listener->protocol_close(request);
  if (in_worker) listeners.observer_.connection_ended(request);
}

void Listeners::stop() noexcept {
  stopped_ = true;
  pause_or_listen();
}

void Listeners::refusing_begins() noexcept {
  refusals_.begin();
  pause_or_listen();
}

void Listeners::refuse(wsgi_request* request) noexcept {
  Listener* const listener = listener_of(request);
  const std::string& answer = listener == nullptr ? std::string() : listener->no_memory;
  if (const int times = no_memory_.times()) {
    uwsgi_log(
        "tornado: no memory for the stack of core %d: %s (%d such request%s; see --tornado-stack-size, "
        "limit-as and vm.max_map_count)\n",
        request->async_id, answer.empty() ? "its connection is closed" : "its request is answered 503", times,
        times == 1 ? "" : "s");
  }
  refusals_.refuse(request->fd, answer);
}

// --- When ---------------------------------------------------------------------------------

void Listeners::pause_or_listen() noexcept {
  note_cores();
  const Taking taking = what_to_take();
  if (taking != taking_) arm(taking);
  if (taking != Taking::kAll) look_again_in_time();
}

Listeners::Taking Listeners::what_to_take() const noexcept {
  if (stopped_ || rest_.active() || others_first_.active()) return Taking::kNothing;
  if (has_room_) return Taking::kAll;
  return overload_.refusing() && pool_.loads().others_overloaded() ? Taking::kRefused : Taking::kNothing;
}

// A level-triggered listener left armed with no core to serve would spin.
void Listeners::arm(Taking taking) noexcept {
  taking_ = taking;
  for (auto& listener : listeners_) {
    const bool wanted =
        taking == Taking::kAll || (taking == Taking::kRefused && !listener->overloaded.empty());
    if (!wanted) listener->acceptable.stop();
    else if (!listener->acceptable.active()) listener->acceptable.start(listener->socket->fd, EV_READ);
  }
}

void Listeners::note_cores() noexcept {
  const bool has_room = pool_.has_room();
  if (has_room == has_room_) return;
  has_room_ = has_room;
  metrics_.note_room(has_room);
  if (!has_room) overload_.cores_ran_out();
  else if (!overload_.calm() && nobody_waits()) overload_.demand_met();
}

// For what comes with time alone: a connection has stalled long enough, other workers are full too.
void Listeners::look_again_in_time() noexcept {
  look_again_.stop();
  if (stopped_ || has_room_) return;
  const double in_s =
      std::min(pool_.connection_stalled_in_s(), overload_.refusing() ? kOthersLookS : HUGE_VAL);
  if (std::isfinite(in_s)) look_again_.start(in_s);
}

bool Listeners::nobody_waits() const noexcept {
  return std::none_of(listeners_.begin(), listeners_.end(),
                      [](const auto& listener) { return is_readable(listener->socket->fd); });
}

// --- Connections come ---------------------------------------------------------------------

void Listeners::take_from(Listener& listener) noexcept {
  int error = 0;
  if (!pool_.has_room())
    error = overload_.refusing() ? refusals_.refuse_from(*listener.socket, listener.overloaded) : 0;
  else if (pool_.loads().above_share()) let_others_go_first();
  else error = accept_its_share(listener);
  if (!says_none(error)) rest_after(error);
  pause_or_listen();
}

int Listeners::accept_its_share(Listener& listener) noexcept {
  after_others_ = 1;
  return accept_from(listener, kAcceptsPerWakeUp, true);
}

// 0, or why accept() failed.
int Listeners::accept_from(Listener& listener, int at_most, bool may_wait) noexcept {
  const double until = loop::monotonic_s() + kAcceptsS;
  for (int i = 0; i < at_most && pool_.has_room(); ++i) {
    if (i > 0 && loop::monotonic_s() > until) {
      // The next turn goes on with it. Requests that gave way wait for that: new ones that compute take turns
      // with them.
      loop_.postpone_idle_callbacks();
      break;
    }
    Core* core = pool_.take_free();
    if (core == nullptr && is_readable(listener.socket->fd)) core = pool_.make_room();
    if (core == nullptr) return 0;
    if (!core->accept(listener.socket)) {
      const int error = errno;
      pool_.give_back(*core);
      if (error == EAGAIN && !overload_.calm()) overload_.demand_met();
      return error;
    }
    metrics_.cores_taken(CorePool::taken());
    if (may_wait && pool_.loads().above_share()) {
      let_others_go_first();
      break;
    }
  }
  return 0;
}

void Listeners::let_others_go_first() noexcept {
  if (!others_first_.active()) others_first_.start(kOthersFirstS);
}

// What they left is taken; it has waited.
void Listeners::on_others_went() noexcept {
  for (auto& listener : listeners_) {
    if (stopped_ || rest_.active()) break;
    if (!is_readable(listener->socket->fd)) continue;
    const int error = accept_from(*listener, after_others_, false);
    if (!says_none(error)) rest_after(error);
  }
  after_others_ = std::min(2 * after_others_, kAcceptsPerWakeUp);
  pause_or_listen();
}

// Out of descriptors or memory: the connection stays in the listen queue, and trying again at
// once would spin.
void Listeners::rest_after(int error) noexcept {
  const int times = failed_accepts_.times();
  if (times != 0) {
    uwsgi_log("tornado: accept() failed: %s; clients wait in the listen queue, next try in %.1f s%s\n",
              strerror(error), kRestS, times == 1 ? "" : " (still)");
  }
  if (!rest_.active()) rest_.start(kRestS);
}

}  // namespace engine
