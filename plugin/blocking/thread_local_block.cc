#include "plugin/blocking/thread_local_block.h"

#include <link.h>

namespace blocking {
namespace {

struct Question {
  ElfW(Addr) address;
  ThreadLocalBlock answer;
};

int on_object(dl_phdr_info* info, std::size_t, void* asked) noexcept {
  auto* const question = static_cast<Question*>(asked);
  bool holds_address = false;
  ThreadLocalBlock block;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = info->dlpi_phdr[i];
    const ElfW(Addr) begin = info->dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_LOAD && question->address >= begin && question->address < begin + segment.p_memsz) {
      holds_address = true;
    }
    if (segment.p_type == PT_TLS) block = {info->dlpi_tls_data, segment.p_memsz, segment.p_filesz == 0};
  }
  if (holds_address) question->answer = block;
  return holds_address ? 1 : 0;
}

}  // namespace

ThreadLocalBlock thread_local_block(const void* address) noexcept {
  Question question{reinterpret_cast<ElfW(Addr)>(address), {}};
  dl_iterate_phdr(&on_object, &question);
  return question.answer;
}

}  // namespace blocking
