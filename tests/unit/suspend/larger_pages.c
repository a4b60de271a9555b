// Preloaded into the unit tests: a kernel whose pages are as large as PAGES says, in bytes, as far as stacks
// can see.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { kRealPage = 4096 };

static size_t page_size(void) { return (size_t)atol(getenv("PAGES")); }

long sysconf(int name) {
  if (name == _SC_PAGESIZE) return (long)page_size();
  return ((long (*)(int))dlsym(RTLD_NEXT, "sysconf"))(name);
}

// What is mapped begins with a page.
void* mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset) {
  void* (*const real)(void*, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap");
  if ((flags & MAP_STACK) == 0 || size > SIZE_MAX / 2) return real(at, size, protection, flags, fd, offset);
  char* const mapped = real(at, size + page_size(), protection, flags, fd, offset);
  if (mapped == MAP_FAILED) return mapped;
  const size_t before = -(uintptr_t)mapped % page_size();
  munmap(mapped, before);
  munmap(mapped + before + size, page_size() - before);
  return mapped + before;
}

// One that was touched anywhere is there as a whole.
int mincore(void* at, size_t size, unsigned char* resident) {
  int (*const real)(void*, size_t, unsigned char*) = dlsym(RTLD_NEXT, "mincore");
  for (size_t page = 0; page * page_size() < size; ++page) {
    resident[page] = 0;
    for (size_t offset = 0; offset < page_size(); offset += kRealPage) {
      unsigned char part = 0;
      const int result = real((char*)at + page * page_size() + offset, kRealPage, &part);
      if (result != 0) return result;
      resident[page] |= part & 1;
    }
  }
  return 0;
}
