#include "plugin/blocking/watched.h"

#include <algorithm>
#include <mutex>
#include <vector>

namespace blocking {

void Wait::end_soon() noexcept {
  if (pending_) return;
  pending_ = true;
  gate_loop().add_callback({[](void* self) noexcept {
                              auto* wait = static_cast<Wait*>(self);
                              wait->pending_ = false;
                              wait->end();
                            },
                            this});
}

Woken Wait::park_until(Deadline deadline) noexcept {
  if (interrupted()) return Woken::kInterrupted;
  if (!deadline.is_never()) timer_.start(deadline.left_s());
  park(fiber());
  timer_.stop();
  if (interrupted()) return Woken::kInterrupted;
  return timed_out_ ? Woken::kTimedOut : Woken::kReady;
}

// Changed on the loop's thread and under the mutex; other threads read under it.
struct Watched::Lists {
  std::mutex mutex;
  std::vector<Watched*> by_fd;
  std::atomic<int> watched{0};

  Watched* first(int fd) const noexcept {
    const auto index = static_cast<std::size_t>(fd);
    return fd < 0 || index >= by_fd.size() ? nullptr : by_fd[index];
  }

  // The lists are linked to by address: growing moves the links.
  Watched*& head(int fd) {
    const auto index = static_cast<std::size_t>(fd);
    if (index >= by_fd.size()) {
      by_fd.resize(std::max<std::size_t>(index + 1, by_fd.size() * 2));
      for (Watched*& head : by_fd) {
        if (head != nullptr) head->link_ = &head;
      }
    }
    return by_fd[index];
  }
};

Watched::Lists& Watched::lists() noexcept {
  static Lists* const forever = new Lists;  // Other threads close until the process ends.
  return *forever;
}

Watched::Watched(Wait& wait, int fd, int events) : wait_(wait), fd_(fd), io_(gate_loop().raw(), this) {
  // Whoever closes the descriptor finds this one in its list, or this one finds it closed.
  const std::lock_guard<std::mutex> lock(lists().mutex);
  Watched*& head = lists().head(fd);
  next_ = head;
  if (next_ != nullptr) next_->link_ = &next_;
  link_ = &head;
  head = this;
  lists().watched.fetch_add(1, std::memory_order_seq_cst);
  if (events != 0) io_.start(fd, events);
}

void Watched::detach() noexcept {
  io_.stop();
  if (link_ == nullptr) return;
  const std::lock_guard<std::mutex> lock(lists().mutex);
  *link_ = next_;
  if (next_ != nullptr) next_->link_ = link_;
  link_ = nullptr;
  next_ = nullptr;
  lists().watched.fetch_sub(1, std::memory_order_seq_cst);
}

void Watched::mark_closed(int fd) noexcept {
  if (lists().watched.load(std::memory_order_seq_cst) == 0) return;
  const std::lock_guard<std::mutex> lock(lists().mutex);
  for (Watched* watched = lists().first(fd); watched != nullptr; watched = watched->next_) {
    watched->closed_.store(true, std::memory_order_release);
  }
}

std::vector<int> Watched::watched_between(unsigned int first, unsigned int last) {
  std::vector<int> found;
  if (lists().watched.load(std::memory_order_seq_cst) == 0) return found;
  const std::lock_guard<std::mutex> lock(lists().mutex);
  for (std::size_t fd = first; fd < lists().by_fd.size() && fd <= last; ++fd) {
    if (lists().by_fd[fd] != nullptr) found.push_back(static_cast<int>(fd));
  }
  return found;
}

void Watched::wake_all(int fd) noexcept {
  while (Watched* watched = lists().first(fd)) {
    watched->detach();
    watched->wait_.end_soon();
  }
}

bool Watched::unless_watched(int fd, void (*act)(int fd) noexcept) noexcept {
  const std::lock_guard<std::mutex> lock(lists().mutex);
  if (lists().first(fd) != nullptr) return false;
  act(fd);
  return true;
}

}  // namespace blocking
