#include "plugin/blocking/descriptors.h"

#if __has_include(<linux/close_range.h>)
#include <linux/close_range.h>
#endif
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>

namespace blocking {

void leave_descriptors() noexcept {
#if defined(SYS_close_range) && defined(CLOSE_RANGE_UNSHARE)
  syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_RANGE_UNSHARE);  // Linux before 5.9 shares on.
#endif
}

int descriptor_table_size() noexcept {
  int size = 0;
  if (std::FILE* status = std::fopen("/proc/self/status", "re")) {
    char line[256];
    while (size == 0 && std::fgets(line, sizeof line, status) != nullptr)
      std::sscanf(line, "FDSize: %d", &size);
    std::fclose(status);
  }
  return size;
}

}  // namespace blocking
