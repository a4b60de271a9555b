// What becomes of connections that no core takes in time.
#pragma once

#include <cstdint>
#include <string>

#include "plugin/engine/farewells.h"
#include "plugin/loop/watcher.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

class Engine;

// An answer that needs no core, in the words of the socket's protocol. Empty where there is none: TLS
// needs a handshake first, and a raw socket's protocol is the application's.
std::string refusal(const uwsgi_socket& socket, int status);

// With --tornado-overload-status: once every core has been taken for --tornado-overload-wait while
// connections waited, in all workers, those that find no core are answered at once, until cores stay free.
//
// calm -> waiting -> refusing <-> easing -> calm; the loop's thread only.
class Overload {
 public:
  explicit Overload(Engine& engine) noexcept;

  // No core is left.
  void cores_ran_out() noexcept;
  // A core is free and nobody waits for it.
  void demand_met() noexcept;
  bool calm() const noexcept { return state_ == State::kCalm; }
  bool refusing() const noexcept { return state_ == State::kRefusing; }

  // Accepts what waits at `socket`, a bounded part of it, and says `answer`. 0, or why accept() failed.
  int refuse_from(const uwsgi_socket& socket, const std::string& answer) noexcept;
  // Answers on `fd`, which stays its owner's to close.
  void refuse(int fd, const std::string& answer) noexcept;

  // How many connections were refused since the worker began.
  std::uint64_t refused() const noexcept { return refused_; }

 private:
  enum class State { kCalm, kWaiting, kRefusing, kEasing };

  void on_due() noexcept;
  void change(State to) noexcept;
  void begin_refusing() noexcept;
  void end_refusing() noexcept;

  Engine& engine_;
  Farewells farewells_;
  State state_ = State::kCalm;
  std::uint64_t refused_ = 0;
  std::uint64_t refused_in_bout_ = 0;
  double began_ = 0;               // On the loop's clock.
  loop::TimerWatcher<Overload, &Overload::on_due> timer_;
};

}  // namespace engine
