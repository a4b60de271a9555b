#include "plugin/blocking/close_listener.h"

#include <algorithm>
#include <mutex>

namespace blocking {

// Changed on the loop's thread and under the mutex; other threads read under it.
struct CloseListener::Lists {
  std::mutex mutex;
  std::vector<CloseListener*> by_fd;
  std::atomic<int> listening{0};

  CloseListener* first(int fd) const noexcept {
    const auto index = static_cast<std::size_t>(fd);
    return fd < 0 || index >= by_fd.size() ? nullptr : by_fd[index];
  }

  // The lists are linked to by address: growing moves the links.
  CloseListener*& head(int fd) {
    const auto index = static_cast<std::size_t>(fd);
    if (index >= by_fd.size()) {
      by_fd.resize(std::max<std::size_t>(index + 1, by_fd.size() * 2));
      for (CloseListener*& head : by_fd) {
        if (head != nullptr) head->link_ = &head;
      }
    }
    return by_fd[index];
  }
};

CloseListener::Lists& CloseListener::lists() noexcept {
  static Lists* const forever = new Lists;  // Other threads close until the process ends.
  return *forever;
}

// A thread that closes the descriptor from now on finds this one in its list.
void CloseListener::listen(int fd) {
  if (link_ != nullptr) return;
  const std::lock_guard<std::mutex> lock(lists().mutex);
  CloseListener*& head = lists().head(fd);
  closed_.store(false, std::memory_order_release);
  next_ = head;
  if (next_ != nullptr) next_->link_ = &next_;
  link_ = &head;
  head = this;
  lists().listening.fetch_add(1, std::memory_order_seq_cst);
}

void CloseListener::end() noexcept {
  if (link_ == nullptr) return;
  const std::lock_guard<std::mutex> lock(lists().mutex);
  *link_ = next_;
  if (next_ != nullptr) next_->link_ = link_;
  link_ = nullptr;
  next_ = nullptr;
  lists().listening.fetch_sub(1, std::memory_order_seq_cst);
}

void CloseListener::mark_closed(int fd) noexcept {
  if (lists().listening.load(std::memory_order_seq_cst) == 0) return;
  const std::lock_guard<std::mutex> lock(lists().mutex);
  for (CloseListener* listener = lists().first(fd); listener != nullptr; listener = listener->next_) {
    listener->closed_.store(true, std::memory_order_release);
  }
}

std::vector<int> CloseListener::between(unsigned int first, unsigned int last) {
  std::vector<int> found;
  if (lists().listening.load(std::memory_order_seq_cst) == 0) return found;
  const std::lock_guard<std::mutex> lock(lists().mutex);
  for (std::size_t fd = first; fd < lists().by_fd.size() && fd <= last; ++fd) {
    if (lists().by_fd[fd] != nullptr) found.push_back(static_cast<int>(fd));
  }
  return found;
}

void CloseListener::let_go_all(int fd) noexcept {
  while (CloseListener* const listener = lists().first(fd)) {
    listener->end();
    listener->let_go();
  }
}

bool CloseListener::unless_listened(int fd, void (*act)(int fd) noexcept) noexcept {
  const std::lock_guard<std::mutex> lock(lists().mutex);
  if (lists().first(fd) != nullptr) return false;
  act(fd);
  return true;
}

}  // namespace blocking
