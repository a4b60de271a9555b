#include "plugin/loop/io_registration.h"

#include <fcntl.h>

#include <cassert>
#include <utility>

#include "plugin/loop/io_loop.h"

namespace loop {

FileIdentity FileIdentity::of(int fd) noexcept {
  struct stat file;
  return fstat(fd, &file) == 0 ? FileIdentity(file) : FileIdentity();
}

bool FileIdentity::is_of(int fd) const noexcept {
  if (!known_) return fcntl(fd, F_GETFD) >= 0;
  struct stat file;
  return fstat(fd, &file) == 0 && file.st_dev == device_ && file.st_ino == inode_;
}

IoRegistration::IoRegistration(struct ev_loop* loop,
                               void (*on_ready)(IoRegistration& self, int revents) noexcept) noexcept
    : loop_(loop), on_ready_(on_ready) {
  ev_init(&io_, &on_event);
  io_.data = this;
}

void IoRegistration::start(int fd, int events, const FileIdentity& file) noexcept {
  assert(!active());
  file_ = file;
  identifies_ = false;
  ev_io_set(&io_, fd, events);
  // libev's own check of a number; one that is closed by the next poll is no different.
  if (fd >= 0) libev.io_start(loop_, &io_);
  IoRegistrations::of(loop_).add(*this);
  activity_.set(true);
}

void IoRegistration::start_and_identify(int fd, int events) noexcept {
  start(fd, events);
  identifies_ = true;
}

void IoRegistration::check_again() noexcept {
  assert(active());
  unlink();
  IoRegistrations::of(loop_).add(*this);
}

bool IoRegistration::means_its_file() noexcept {
  if (!std::exchange(identifies_, false)) return file_.is_of(fd());
  file_ = FileIdentity::of(fd());
  return file_.known();
}

void IoRegistration::stop() noexcept {
  if (!active()) return;
  libev.io_stop(loop_, &io_);
  unlink();
  activity_.set(false);
}

void IoRegistration::on_event(struct ev_loop*, ev_io* io, int revents) noexcept {
  auto* const self = static_cast<IoRegistration*>(io->data);
  if (!ev_is_active(io)) {  // libev has given it up.
    self->unlink();
    self->activity_.set(false);
  }
  self->on_ready_(*self, revents);
}

void IoRegistration::link(IoRegistration*& head) noexcept {
  assert(link_ == nullptr);
  next_ = head;
  if (next_ != nullptr) next_->link_ = &next_;
  link_ = &head;
  head = this;
}

void IoRegistration::unlink() noexcept {
  if (link_ == nullptr) return;
  *link_ = next_;
  if (next_ != nullptr) next_->link_ = link_;
  next_ = nullptr;
  link_ = nullptr;
}

IoRegistrations& IoRegistrations::of(struct ev_loop* loop) noexcept {
  return static_cast<IoLoop*>(libev.userdata(loop))->registrations();
}

bool IoRegistrations::check() noexcept {
  while (IoRegistration* const registration = unchecked_) {
    registration->unlink();
    if (registration->means_its_file()) {
      registration->link(checked_);
    } else {
      libev.io_stop(registration->loop_, &registration->io_);
      registration->link(refused_);
    }
  }
  return refused_ != nullptr;
}

// What one is told may stop others, or poll again.
void IoRegistrations::tell_refused() noexcept {
  while (IoRegistration* const registration = refused_) {
    registration->unlink();
    registration->activity_.set(false);
    registration->on_ready_(*registration, registration->events() | EV_ERROR);
  }
}

void IoRegistrations::check_all_again() noexcept {
  while (IoRegistration* const registration = checked_) {
    registration->unlink();
    registration->link(unchecked_);
  }
}

}  // namespace loop
