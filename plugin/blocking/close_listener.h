// Objects that learn of the close of a descriptor.
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

  // The descriptor was closed since then. Its number may already name another file.
  bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }

  // Tells all listeners of `fd` that it is being closed. Any thread; one load if nobody listens for any
  // descriptor.
  static void mark_closed(int fd) noexcept;
  // The descriptors from `first` to `last` that have a listener, in order. Any thread.
  static std::vector<int> between(unsigned int first, unsigned int last);
  // Makes all listeners of `fd` let go of it. On the loop's thread.
  static void let_go_all(int fd) noexcept;
  // Runs act(fd) unless `fd` has a listener; none can be added meanwhile. Any thread.
  static bool unless_listened(int fd, void (*act)(int fd) noexcept) noexcept;

 protected:
  ~CloseListener() { end(); }

  // Listens from now on. Does nothing if it listens already.
  void listen(int fd);
  void end() noexcept;

 private:
  struct Lists;
  static Lists& lists() noexcept;

  // Called when the descriptor is about to be closed; this no longer listens. Must take the descriptor out of
  // the loop. On the loop's thread.
  virtual void let_go() noexcept = 0;

  std::atomic<bool> closed_{false};
  CloseListener* next_ = nullptr;
  CloseListener** link_ = nullptr;  // The pointer to this one; null if it is in no list.
};

}  // namespace blocking
