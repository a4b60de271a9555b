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

  // The beginning and the end of refusing for overload. The log says how many were refused.
  void begin() noexcept;
  void end() noexcept;

  // Accepts a limited number of `socket`'s connections and sends `answer`. Returns 0, or accept()'s errno.
  int refuse_from(const uwsgi_socket& socket, const std::string& answer) noexcept;
  // Answers on `fd`, and leaves closing it to its owner.
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
