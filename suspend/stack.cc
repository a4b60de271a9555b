#include "suspend/stack.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <new>

#include "suspend/sanitizer.h"

namespace suspend {
namespace {

// More than a page: a frame with a buffer in it may step over one, into the next stack. Only
// address space is spent.
constexpr std::size_t kGuardSize = 64u << 10;

constexpr std::size_t kProbeSize = 8u << 10;

std::size_t page_size() noexcept {
  static const std::size_t size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

std::size_t round_up_to_pages(std::size_t size) noexcept {
  return (size + page_size() - 1) / page_size() * page_size();
}

std::size_t guard_size() noexcept { return round_up_to_pages(kGuardSize); }

// The list of all stacks. Not a mutex: a signal handler tries it, too.
std::atomic_flag list_is_taken = ATOMIC_FLAG_INIT;

class ListLock {
 public:
  ListLock() noexcept {
    while (list_is_taken.test_and_set(std::memory_order_acquire)) {
    }
  }
  ~ListLock() { list_is_taken.clear(std::memory_order_release); }
  ListLock(const ListLock&) = delete;
  ListLock& operator=(const ListLock&) = delete;
};

bool is_resident(const char* page) noexcept {
  unsigned char resident = 0;
  return mincore(const_cast<char*>(page), page_size(), &resident) == 0 && (resident & 1) != 0;
}

}  // namespace

Stack::Stack(std::size_t size, std::size_t annex_size)
    : size_(round_up_to_pages(size + annex_size) - annex_size), annex_size_(annex_size) {
  const std::size_t mapped = size_ + annex_size_ + guard_size();
  if (mapped < size) throw std::bad_alloc();  // The sum went past the end of the address space.
  void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (base == MAP_FAILED) throw std::bad_alloc();
  if (mprotect(base, guard_size(), PROT_NONE) != 0) {
    munmap(base, mapped);
    throw std::bad_alloc();
  }
  // A host with transparent huge pages "always" would commit 2 MiB a fiber.
  madvise(base, mapped, MADV_NOHUGEPAGE);
  bottom_ = static_cast<char*>(base) + guard_size();
  const ListLock lock;
  next_ = first_;
  if (next_ != nullptr) next_->previous_ = this;
  first_ = this;
}

Stack::~Stack() {
  {
    const ListLock lock;
    if (next_ != nullptr) next_->previous_ = previous_;
    (previous_ == nullptr ? first_ : previous_->next_) = next_;
  }
  sanitizer::forget_stack(bottom_, size_);
  if (kept_mapped_) return;
  const int result = munmap(static_cast<char*>(bottom_) - guard_size(), guard_size() + size_ + annex_size_);
  assert(result == 0);
  (void)result;
}

bool Stack::guards(const void* address) const noexcept {
  const char* at = static_cast<const char*>(address);
  const char* low = static_cast<const char*>(bottom_);
  return at >= low - guard_size() && at < low;
}

// --- How deep it was used -----------------------------------------------------------------------

// Of the page that top() is in.
const char* Stack::end() const noexcept { return static_cast<char*>(bottom_) + round_up_to_pages(size_); }

// The pages just below what trim() keeps; null in a stack too small to have them. They are read
// only: what a deep call did not write is the kernel's page of zeros, and costs no memory.
const char* Stack::probe() const noexcept {
  return size_ < kKept + kProbeSize ? nullptr : end() - kKept - kProbeSize;
}

// A call that goes deeper leaves something there: saved registers, return addresses. But its
// frames may be large and hardly written to (sorted() with a key: 5 KiB, of which 3 are a buffer),
// so a cache line is looked at in many places.
__attribute__((no_sanitize("address"))) bool Stack::probe_is_clean() const noexcept {
  using Words [[gnu::vector_size(16), gnu::may_alias]] =
      std::uint64_t;  // A register of any x86-64 and aarch64.
  constexpr std::size_t kApart = 512;
  const char* const pages = probe();
  if (pages == nullptr) return true;
  Words seen{};
  for (std::size_t at = 0; at < kProbeSize; at += kApart) {
    const auto* const line = reinterpret_cast<const Words*>(pages + at);
    seen |= line[0] | line[1] | line[2] | line[3];
  }
  return (seen[0] | seen[1]) == 0;
}

std::size_t Stack::bytes_used() const noexcept {
  constexpr std::size_t kPages = 256;  // Asked for at once.
  unsigned char resident[kPages];
  const char* const end = this->end();
  const char* const looked_at = probe();
  const bool clean = looked_at != nullptr && probe_is_clean();
  for (const char* from = static_cast<char*>(bottom_); from < end; from += kPages * page_size()) {
    const std::size_t size =
        std::min<std::size_t>(kPages * page_size(), static_cast<std::size_t>(end - from));
    if (mincore(const_cast<char*>(from), size, resident) != 0) return 0;
    for (std::size_t i = 0; i < size / page_size(); ++i) {
      const char* const page = from + i * page_size();
      // Pages of 16 or 64 KiB, which some aarch64 kernels have, are larger than the probe.
      const bool only_read = clean && page + page_size() > looked_at && page < looked_at + kProbeSize;
      if ((resident[i] & 1) != 0 && !only_read) return static_cast<std::size_t>(end - page);
    }
  }
  return 0;
}

std::size_t Stack::measure() noexcept {
  const std::size_t used = bytes_used();
  std::size_t before = deepest();
  while (used > before && !deepest_.compare_exchange_weak(before, used, std::memory_order_relaxed)) {
  }
  return used;
}

bool Stack::trim() noexcept {
  if (probe_is_clean()) return false;
  measure();
  release_below(end() - kKept);
  return true;
}

void Stack::release_below(const void* address) noexcept {
  const auto* const bottom = static_cast<char*>(bottom_);
  assert(address >= bottom_ && address <= end());
  const auto size =
      static_cast<std::size_t>(static_cast<const char*>(address) - bottom) / page_size() * page_size();
  sanitizer::forget_stack(bottom_, size);
  madvise(bottom_, size, MADV_DONTNEED);
}

// --- In signal handlers -------------------------------------------------------------------------

// A thread that was interrupted in the middle of a change would never end it, so the wait is
// bounded.
template <typename Predicate>
const Stack* Stack::find(Predicate fits) noexcept {
  constexpr int kTries = 100000;
  int tries = 0;
  while (list_is_taken.test_and_set(std::memory_order_acquire)) {
    if (++tries == kTries) return nullptr;
  }
  const Stack* found = first_;
  while (found != nullptr && !fits(*found)) found = found->next_;
  list_is_taken.clear(std::memory_order_release);
  return found;
}

const Stack* Stack::guarding(const void* address) noexcept {
  return find([=](const Stack& stack) { return stack.guards(address); });
}

const Stack* Stack::used_up() noexcept {
  return find([](const Stack& stack) { return is_resident(static_cast<char*>(stack.bottom_)); });
}

}  // namespace suspend
