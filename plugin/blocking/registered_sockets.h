// Sockets that stay registered with the loop between the waits of fibers.
#pragma once

#include "plugin/blocking/close_listener.h"
#include "plugin/loop/io_loop.h"
#include "plugin/loop/watcher.h"
#include "suspend/baton.h"

namespace blocking {

// One descriptor's registration. A driver waits for the same socket again and again: from the second wait on
// nothing is told to the kernel, and nothing allocated. Between waits the first event that nobody waits for
// ends the registration. The loop's thread only.
class RegisteredSocket final : public CloseListener {
 public:
  explicit RegisteredSocket(struct ev_loop* loop) noexcept : io_(loop, this) {}

 private:
  friend class RegisteredWait;

  // No fiber waits with it, and no thread has just closed its descriptor.
  bool free() const noexcept { return baton_ == nullptr && !(io_.active() && closed()); }
  void begin(suspend::Baton& baton, int fd, int events);
  void end_wait() noexcept;
  void on_ready(int) noexcept;
  void let_go() noexcept override;

  loop::IoWatcher<RegisteredSocket, &RegisteredSocket::on_ready> io_;
  suspend::Baton* baton_ = nullptr;  // Of the waiting fiber.
};

// While it exists and is registered(), `baton` is posted when `fd` is ready or closed. It is not registered()
// if another fiber waits for the same descriptor.
class RegisteredWait {
 public:
  // `events` of libev's, not 0. Throws std::bad_alloc.
  RegisteredWait(suspend::Baton& baton, int fd, int events);
  ~RegisteredWait() {
    if (socket_ != nullptr) socket_->end_wait();
  }
  RegisteredWait(const RegisteredWait&) = delete;
  RegisteredWait& operator=(const RegisteredWait&) = delete;

  bool registered() const noexcept { return socket_ != nullptr; }
  // The descriptor was closed meanwhile. REQUIRES: registered().
  bool closed() const noexcept { return socket_->closed(); }

 private:
  RegisteredSocket* const socket_;
};

// Ends the registrations of the loop before; `loop` may be null.
void register_sockets_with(loop::IoLoop* loop) noexcept;

}  // namespace blocking
