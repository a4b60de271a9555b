#include "plugin/engine/lingering_close.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>

#include "plugin/loop/clock.h"

namespace engine {
namespace {

constexpr double kLingerS = 1;
constexpr std::size_t kMostRead = 1u << 20;
// Beyond these the oldest goes at once: they must not cost the worker its descriptors.
constexpr std::size_t kMostLeaving = 512;

enum class Peer { kStays, kGone };

// Drops the bytes that have arrived, a limited number at a time.
Peer drop_input(int fd, std::size_t& read) noexcept {
  char dropped[16384];
  for (int i = 0; i < 4; ++i) {
    const ssize_t size = recv(fd, dropped, sizeof dropped, MSG_DONTWAIT);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno == EAGAIN || errno == EWOULDBLOCK ? Peer::kStays : Peer::kGone;
    if (size == 0) return Peer::kGone;
    read += static_cast<std::size_t>(size);
    if (read > kMostRead) return Peer::kGone;
  }
  return Peer::kStays;
}

}  // namespace

LingeringClose::~LingeringClose() {
  while (!leaving_.empty()) end(leaving_.front());
}

void LingeringClose::say(int fd, std::string_view answer) noexcept {
  // A socket nothing was written to has room for it; a client that does not take it is gone.
  const ssize_t sent = send(fd, answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  std::size_t read = 0;
  if (sent < 0 || shutdown(fd, SHUT_WR) < 0 || drop_input(fd, read) == Peer::kGone) close(fd);
  else linger(fd);
}

void LingeringClose::linger(int fd) noexcept {
  if (leaving_.size() >= kMostLeaving) end(leaving_.front());
  leaving_.emplace_back(*this, fd, loop::monotonic_s());
  const Place place = std::prev(leaving_.end());
  place->place = place;
  place->readable.start(fd, EV_READ);
  if (!timer_.active()) timer_.start(kLingerS);
}

void LingeringClose::read_from(Leaving& leaving) noexcept {
  if (drop_input(leaving.fd, leaving.read) == Peer::kGone) end(leaving);
}

void LingeringClose::end(Leaving& leaving) noexcept {
  leaving.readable.stop();
  close(leaving.fd);
  leaving_.erase(leaving.place);
}

void LingeringClose::on_due() noexcept {
  const double now = loop::monotonic_s();
  while (!leaving_.empty() && leaving_.front().since + kLingerS <= now + 0.001) end(leaving_.front());
  if (!leaving_.empty()) timer_.start(leaving_.front().since + kLingerS - now);
}

}  // namespace engine
