#include "plugin/blocking/registered_sockets.h"

#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <memory>
#include <utility>
#include <vector>

namespace blocking {
namespace {

// By descriptor. One whose descriptor is closed is destroyed.
class Registered {
 public:
  // A forked child leaves them as they are, because the loop is not its own.
  void use(loop::IoLoop* loop) noexcept {
    if (getpid() == process_) by_fd_.clear();
    else static_cast<void>(new auto(std::move(by_fd_)));
    process_ = getpid();
    loop_ = loop;
  }

  RegisteredSocket& of(int fd) {
    const auto index = static_cast<std::size_t>(fd);
    if (index >= by_fd_.size()) by_fd_.resize(std::max(index + 1, 2 * by_fd_.size()));
    if (!by_fd_[index]) by_fd_[index] = std::make_unique<RegisteredSocket>(loop_->raw());
    return *by_fd_[index];
  }

  void destroy(int fd) noexcept { by_fd_[static_cast<std::size_t>(fd)].reset(); }

 private:
  std::vector<std::unique_ptr<RegisteredSocket>> by_fd_;
  loop::IoLoop* loop_ = nullptr;
  pid_t process_ = getpid();
};

Registered& all_registered() noexcept {
  static Registered* const forever = new Registered;
  return *forever;
}

}  // namespace

void register_sockets_with(loop::IoLoop* loop) noexcept { all_registered().use(loop); }

// The poll to come checks that the descriptor still means the socket that was registered: it may have been
// closed by a call that is not redirected, and its number be another's.
void RegisteredSocket::begin(suspend::Baton& baton, int fd, int events) {
  if (io_.active() && io_.events() == events) {
    io_.check_again();
  } else {
    io_.stop();
    listen(fd);
    io_.start_and_identify(fd, events);
  }
  baton_ = &baton;
}

// Of other files than sockets no identity can be told, so none of them stays.
void RegisteredSocket::end_wait() noexcept {
  baton_ = nullptr;
  if (io_.active() && io_.file().is_socket()) return;
  io_.stop();
  end();
}

void RegisteredSocket::on_ready(int) noexcept {
  if (baton_ != nullptr) {
    baton_->post();
  } else {
    io_.stop();
    end();
  }
}

void RegisteredSocket::let_go() noexcept {
  io_.stop();
  if (baton_ != nullptr) baton_->post_next_turn(closed() ? suspend::Woken::kClosed : suspend::Woken::kPosted);
  else all_registered().destroy(io_.fd());
}

RegisteredWait::RegisteredWait(suspend::Baton& baton, int fd, int events)
    : socket_([&]() -> RegisteredSocket* {
        assert(events != 0);
        if (fd < 0) return nullptr;
        RegisteredSocket& socket = all_registered().of(fd);
        if (!socket.free()) return nullptr;
        socket.begin(baton, fd, events);
        return &socket;
      }()) {}

}  // namespace blocking
