// Who is to hear of the close of a descriptor.
#pragma once

#include <atomic>
#include <vector>

namespace blocking {

// Listeners are linked by descriptor, so that a close finds them. Made and destroyed on the
// loop's thread; closes come from any.
class CloseListener {
 public:
  CloseListener() noexcept = default;
  CloseListener(const CloseListener&) = delete;
  CloseListener& operator=(const CloseListener&) = delete;

  // The descriptor was closed since. Its number may mean another file by now.
  bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }

  // Tells all that listen for `fd` now that it is being closed. Any thread; one load when
  // nobody listens for any descriptor.
  static void mark_closed(int fd) noexcept;
  // The descriptors from `first` to `last` that somebody listens for, in order. Any thread.
  static std::vector<int> between(unsigned int first, unsigned int last);
  // Has all that listen for `fd` now let go of it. The loop's thread.
  static void let_go_all(int fd) noexcept;
  // Runs act(fd) unless somebody listens for `fd`; nobody can begin to meanwhile. Any thread.
  static bool unless_listened(int fd, void (*act)(int fd) noexcept) noexcept;

 protected:
  ~CloseListener() { end(); }

  // From now on. Does nothing where it listens already.
  void listen(int fd);
  void end() noexcept;

 private:
  struct Lists;
  static Lists& lists() noexcept;

  // The descriptor is about to be closed, and this listens no more: to be taken out of the
  // loop's hands. The loop's thread.
  virtual void let_go() noexcept = 0;

  std::atomic<bool> closed_{false};
  CloseListener* next_ = nullptr;
  CloseListener** link_ = nullptr;  // What points at this one; null when it is in no list.
};

}  // namespace blocking
