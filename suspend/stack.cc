#include "suspend/stack.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cassert>
#include <new>

#include "suspend/sanitizer.h"

namespace suspend {
namespace {

std::size_t page_size() noexcept {
  static const std::size_t size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

std::size_t round_up_to_pages(std::size_t size) noexcept {
  return (size + page_size() - 1) / page_size() * page_size();
}

}  // namespace

Stack::Stack(std::size_t size) : size_(round_up_to_pages(size)) {
  if (size_ < size) throw std::bad_alloc();  // Rounding went past the end of the address space.
  const std::size_t mapped = size_ + page_size();
  void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (base == MAP_FAILED) throw std::bad_alloc();
  if (mprotect(base, page_size(), PROT_NONE) != 0) {
    munmap(base, mapped);
    throw std::bad_alloc();
  }
  // A host with transparent huge pages "always" would commit 2 MiB a fiber.
  madvise(base, mapped, MADV_NOHUGEPAGE);
  bottom_ = static_cast<char*>(base) + page_size();
}

Stack::~Stack() {
  sanitizer::forget_stack(bottom_, size_);
  const int result = munmap(static_cast<char*>(bottom_) - page_size(), size_ + page_size());
  assert(result == 0);
  (void)result;
}

bool Stack::guards(const void* address) const noexcept {
  const char* at = static_cast<const char*>(address);
  const char* low = static_cast<const char*>(bottom_);
  return at >= low - page_size() && at < low;
}

}  // namespace suspend
