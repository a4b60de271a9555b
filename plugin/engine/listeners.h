// The sockets a worker accepts from, and when it does.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "plugin/engine/overload.h"
#include "plugin/engine/seldom.h"
#include "plugin/loop/watcher.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

class Engine;

// Connections stay in the listen queue while there is no core for them, for other workers or for
// later. The loop's thread only.
class Listeners {
 public:
  explicit Listeners(Engine& engine);

  // To be called whenever a core was taken or freed, or a connection may be closed for its core.
  void pause_or_listen() noexcept;

  // The listen queues are empty.
  bool nobody_waits() const noexcept;

  // What the socket's protocol does with a connection at its end: its own proto_close comes by here.
  void close_by_protocol(wsgi_request* request) noexcept;

  // Answers a request that has a core, but nothing to run on.
  void refuse(wsgi_request* request) noexcept;
  std::uint64_t refused() const noexcept { return overload_.refused(); }

 private:
  struct Listener {
    Listener(Listeners& owner, uwsgi_socket* of);
    void on_acceptable(int) noexcept { listeners.take_from(*this); }

    Listeners& listeners;
    uwsgi_socket* const socket;
    void (*protocol_close)(wsgi_request*) = nullptr;
    const std::string no_memory;  // Refusals; empty where there is none.
    const std::string overloaded;
    loop::IoWatcher<Listener, &Listener::on_acceptable> acceptable;
  };

  // What the listeners are armed for.
  enum class Taking { kNothing, kRefused, kAll };

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

  Engine& engine_;
  Overload overload_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  Taking taking_ = Taking::kNothing;
  bool has_room_ = true;
  int after_others_ = 1;  // How many to take next time the others went first.
  loop::TimerWatcher<Listeners, &Listeners::pause_or_listen> rest_;  // After an accept that failed.
  loop::TimerWatcher<Listeners, &Listeners::pause_or_listen> look_again_;
  loop::TimerWatcher<Listeners, &Listeners::on_others_went> others_first_;
  Seldom failed_accepts_;
  Seldom no_memory_;
};

}  // namespace engine
