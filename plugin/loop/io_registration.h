// Registrations of descriptors with libev, checked before each poll.
#pragma once

#include <sys/stat.h>

#include <cstdint>

#include "plugin/loop/activity.h"
#include "plugin/loop/libev.h"

namespace loop {

// Which file a descriptor referred to at some moment.
class FileIdentity {
 public:
  FileIdentity() noexcept = default;  // Matches any file.
  explicit FileIdentity(const struct stat& file) noexcept
      : device_(file.st_dev), inode_(file.st_ino), known_(true), socket_(S_ISSOCK(file.st_mode)) {}
  // What `fd` refers to now; not known where it is not open.
  static FileIdentity of(int fd) noexcept;

  bool known() const noexcept { return known_; }
  // No two sockets have one identity. (Both ends of a pipe do, and all epoll descriptors.)
  bool is_socket() const noexcept { return socket_; }

  // Whether `fd` is open and, as far as can be told, still refers to this file.
  bool is_of(int fd) const noexcept;
  bool operator!=(const FileIdentity& other) const noexcept {
    return device_ != other.device_ || inode_ != other.inode_ || known_ != other.known_;
  }

 private:
  dev_t device_ = 0;
  ino_t inode_ = 0;
  bool known_ = false;
  bool socket_ = false;
};

// One ev_io. libev tells the kernel of it at the next poll, and ends the process if the
// descriptor has been closed by then. So each registration is checked at that poll.
class IoRegistration {
 public:
  // `events`: EV_READ, EV_WRITE or both. Where the descriptor is not open at the next poll,
  // or means another file than `file`, it is called once, after that poll, with EV_ERROR.
  // REQUIRES: not active.
  void start(int fd, int events, const FileIdentity& file = {}) noexcept;
  // The same for the file that the next poll finds, which file() tells from then on. REQUIRES: not active.
  void start_and_identify(int fd, int events) noexcept;
  const FileIdentity& file() const noexcept { return file_; }
  // Makes the next poll check that the descriptor still means its file. REQUIRES: active.
  void check_again() noexcept;
  // Called last of all that is due or ready in one turn. REQUIRES: not active.
  void come_last() noexcept { ev_set_priority(&io_, EV_MINPRI); }
  // Also withdraws a call that is due but has not been made yet.
  void stop() noexcept;
  bool active() const noexcept { return activity_.get(); }
  int fd() const noexcept { return io_.fd; }
  int events() const noexcept { return io_.events & (EV_READ | EV_WRITE); }

 protected:
  // `loop` is that of an IoLoop.
  IoRegistration(struct ev_loop* loop, void (*on_ready)(IoRegistration& self, int revents) noexcept) noexcept;
  ~IoRegistration() { stop(); }
  IoRegistration(const IoRegistration&) = delete;
  IoRegistration& operator=(const IoRegistration&) = delete;

 private:
  friend class IoRegistrations;

  static void on_event(struct ev_loop*, ev_io* io, int revents) noexcept;
  void link(IoRegistration*& head) noexcept;
  void unlink() noexcept;
  bool means_its_file() noexcept;

  struct ev_loop* const loop_;
  void (*const on_ready_)(IoRegistration& self, int revents) noexcept;
  ev_io io_;
  FileIdentity file_;
  bool identifies_ = false;  // At the next check.
  Activity activity_;
  IoRegistration* next_ = nullptr;
  IoRegistration** link_ = nullptr;  // What points at this one; null while it is in no list.
};

// All registrations of one loop.
class IoRegistrations {
 public:
  static IoRegistrations& of(struct ev_loop* loop) noexcept;

  void add(IoRegistration& registration) noexcept { registration.link(unchecked_); }
  // Removes the registrations that libev must not pass to the kernel. To be called before each poll, with
  // nothing in between that may close a descriptor. Returns whether tell_refused() has something to
  // report.
  bool check() noexcept;
  void tell_refused() noexcept;
  // After a fork libev registers all with a new epoll descriptor.
  void check_all_again() noexcept;

 private:
  IoRegistration* unchecked_ = nullptr;
  IoRegistration* checked_ = nullptr;
  IoRegistration* refused_ = nullptr;
};

}  // namespace loop
