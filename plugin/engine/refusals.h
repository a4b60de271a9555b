// Answers connections at once, without a core.
#pragma once

#include <cstdint>
#include <string>

#include "plugin/engine/lingering_close.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

// A response that needs no core, in the socket's protocol. Empty if there is none: TLS needs a handshake
// first, and the protocol of a raw socket is up to the application.
std::string refusal(const uwsgi_socket& socket, int status);

// Sends such responses and counts them. The loop's thread only.
class Refusals {
 public:
  explicit Refusals(struct ev_loop* loop) noexcept : lingering_close_(loop) {}

  // From when to when it is refused for overload: the log tells how many.
  void begin() noexcept;
  void end() noexcept;

  // Accepts what waits at `socket`, a bounded part of it, and says `answer`. 0, or why accept() failed.
  int refuse_from(const uwsgi_socket& socket, const std::string& answer) noexcept;
  // Answers on `fd`, which stays its owner's to close.
  void refuse(int fd, const std::string& answer) noexcept;

  // How many connections were refused since the worker began.
  std::uint64_t count() const noexcept { return count_; }

 private:
  LingeringClose lingering_close_;
  std::uint64_t count_ = 0;
  std::uint64_t since_begun_ = 0;
  double begun_s_ = 0;  // On the loop's clock.
};

}  // namespace engine
