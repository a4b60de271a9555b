// The walk through an object's dynamic section and relocations, on an image that the bytes make up.
//
// The loader maps segments, so their extent is true; whatever lies in them may say anything. Nothing outside
// of them may be read or written, and of the writable ones only slots of the function that was named.
#include <fuzzer/FuzzedDataProvider.h>
#include <sanitizer/asan_interface.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "plugin/blocking/got.h"

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kPages = 3;
int replacement;

// Pages with nothing around them.
char* mapped() {
  static char* const pages = [] {
    auto* const all = static_cast<char*>(
        mmap(nullptr, (kPages + 2) * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(all + kPage, kPages * kPage, PROT_READ | PROT_WRITE);
    return all + kPage;
  }();
  return pages;
}

ElfW(Phdr) segment(FuzzedDataProvider& bytes, ElfW(Word) type, std::size_t image_size) {
  ElfW(Phdr) made{};
  made.p_type = type;
  made.p_vaddr = bytes.ConsumeIntegralInRange<std::size_t>(0, image_size);
  made.p_memsz = bytes.ConsumeIntegralInRange<std::size_t>(0, image_size - made.p_vaddr);
  made.p_flags = bytes.ConsumeBool() ? PF_R | PF_W : PF_R;
  return made;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider bytes(data, size);
  char* const image = mapped();
  const auto image_size = bytes.ConsumeIntegralInRange<std::size_t>(64, kPages * kPage);
  ElfW(Phdr) segments[4];
  segments[0] = segment(bytes, PT_LOAD, image_size);
  segments[1] = segment(bytes, bytes.ConsumeBool() ? PT_LOAD : PT_GNU_RELRO, image_size);
  segments[2] = segment(bytes, PT_DYNAMIC, image_size);
  segments[3] = segment(bytes, PT_GNU_RELRO, image_size);
  if (bytes.ConsumeBool()) segments[2].p_vaddr = bytes.ConsumeIntegral<ElfW(Addr)>();

  __asan_unpoison_memory_region(image, kPages * kPage);
  std::memset(image, 0, kPages * kPage);
  const std::string content = bytes.ConsumeRemainingBytesAsString();
  std::memcpy(image, content.data(), std::min(content.size(), image_size));
  // Only what is in a segment may be looked at.
  __asan_poison_memory_region(image, kPages * kPage);
  for (const ElfW(Phdr) & loaded : segments) {
    if (loaded.p_type == PT_LOAD) __asan_unpoison_memory_region(image + loaded.p_vaddr, loaded.p_memsz);
  }

  dl_phdr_info info{};
  info.dlpi_addr = reinterpret_cast<ElfW(Addr)>(image);
  info.dlpi_name = "/lib/libhostile.so";
  info.dlpi_phdr = segments;
  info.dlpi_phnum = 4;
  const blocking::ObjectTables tables = blocking::read_tables(info);
  std::vector<blocking::Slot> changed;
  const int count = blocking::redirect(tables, {{"poll", &replacement}, {"recv", &replacement}}, changed);
  mprotect(image, kPages * kPage, PROT_READ | PROT_WRITE);  // What was sealed.
  if (static_cast<std::size_t>(count) != changed.size()) abort();
  for (const blocking::Slot& slot : changed) {
    if (!blocking::holds(info, slot.address)) abort();
    if (!blocking::write_slot(slot, slot.original)) abort();
    mprotect(image, kPages * kPage, PROT_READ | PROT_WRITE);
  }
  return 0;
}
