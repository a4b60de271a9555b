// The sockets a worker accepts from, and when it does.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "plugin/engine/core_pool.h"
#include "plugin/engine/log_throttle.h"
#include "plugin/engine/overload.h"
#include "plugin/engine/refusals.h"
#include "plugin/loop/io_loop.h"
#include "plugin/loop/watcher.h"
#include "plugin/observe/metrics.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

// Learns what a socket's protocol does with a connection (its proto_close).
class ConnectionObserver {
 public:
  // Before and after it closes the connection, or keeps it for the next request.
  virtual void connection_ends(wsgi_request* request) noexcept = 0;
  virtual void connection_ended(wsgi_request* request) noexcept = 0;

 protected:
  ~ConnectionObserver() = default;
};

// While there is no core for them, connections stay in the listen queue, for other workers or for later. The
// loop's thread only.
class Listeners final : private OverloadHost {
 public:
  Listeners(loop::IoLoop& loop, CorePool& pool, Metrics& metrics, ConnectionObserver& observer);

  // To be called when a core was taken or freed, or a connection may be closed for its core.
  void pause_or_listen() noexcept;

  // Accepts no more.
  void stop() noexcept;

  // Answers a request that has a core, but no stack.
  void refuse(wsgi_request* request) noexcept;
  std::uint64_t refused() const noexcept { return refusals_.count(); }

 private:
  struct Listener {
    Listener(Listeners& owner, uwsgi_socket* of);
    void on_acceptable(int) noexcept { listeners.take_from(*this); }

    Listeners& listeners;
    uwsgi_socket* const socket;
    void (*protocol_close)(wsgi_request*) = nullptr;
    const std::string no_memory;  // Refusals; empty if there are none.
    const std::string overloaded;
    loop::IoWatcher<Listener, &Listener::on_acceptable> acceptable;
  };

  // What the listeners are armed for.
  enum class Taking { kNothing, kRefused, kAll };

  static void close_connection(wsgi_request* request) noexcept;
  bool nobody_waits() const noexcept;
  Listener* listener_of(const wsgi_request* request) noexcept;
  Taking what_to_take() const noexcept;
  void arm(Taking taking) noexcept;
  void note_cores() noexcept;
  void look_again_in_time() noexcept;
  void take_from(Listener& listener) noexcept;
  int accept_its_share(Listener& listener) noexcept;
  int accept_from(Listener& listener, int at_most, bool may_wait) noexcept;
  void let_others_go_first() noexcept;
  void on_others_went() noexcept;
  void rest_after(int error) noexcept;

  void call_due_in(double seconds) noexcept override { overload_due_.start(seconds); }
  void call_off() noexcept override { overload_due_.stop(); }
  bool demand_is_met() const noexcept override { return pool_.has_room() && nobody_waits(); }
  void overload_changed() noexcept override { pool_.loads().publish_overloaded(overload_.refusing()); }
  void refusing_begins() noexcept override;
  void refusing_ends() noexcept override { refusals_.end(); }
  void on_overload_due() noexcept { overload_.due(); }

  static inline Listeners* of_this_worker_ = nullptr;

  loop::IoLoop& loop_;
  CorePool& pool_;
  Metrics& metrics_;
  ConnectionObserver& observer_;
  Overload overload_;
  Refusals refusals_;
  bool stopped_ = false;
  std::vector<std::unique_ptr<Listener>> listeners_;
  Taking taking_ = Taking::kNothing;
  bool has_room_ = true;
  int after_others_ = 1;  // How many to accept next time, if the other workers went first.
  loop::TimerWatcher<Listeners, &Listeners::pause_or_listen> rest_;  // After an accept that failed.
  loop::TimerWatcher<Listeners, &Listeners::pause_or_listen> look_again_;
  loop::TimerWatcher<Listeners, &Listeners::on_others_went> others_first_;
  loop::TimerWatcher<Listeners, &Listeners::on_overload_due> overload_due_;
  LogThrottle failed_accepts_;
  LogThrottle no_memory_;
};

}  // namespace engine
