#include "suspend/thread_local_block.h"

#include <link.h>

// The loader's own, with its own record of a module and an offset (the ELF TLS ABI).
extern "C" void* __tls_get_addr(suspend::ThreadLocalPlace* place);

namespace suspend {
namespace {

struct Question {
  ElfW(Addr) code;
  ThreadLocalBlock answer;
};

int look_at(dl_phdr_info* info, std::size_t, void* asked) noexcept {
  auto* const question = static_cast<Question*>(asked);
  bool holds_code = false;
  ThreadLocalBlock block;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = info->dlpi_phdr[i];
    const ElfW(Addr) begin = info->dlpi_addr + segment.p_vaddr;
    const bool has = question->code >= begin && question->code < begin + segment.p_memsz;
    if (segment.p_type == PT_LOAD && has) holds_code = true;
    if (segment.p_type == PT_TLS) {
      block = {static_cast<char*>(info->dlpi_tls_data), segment.p_memsz, info->dlpi_tls_modid};
    }
  }
  if (holds_code) question->answer = block;
  return holds_code ? 1 : 0;
}

}  // namespace

ThreadLocalBlock thread_local_block_of(const void* code) noexcept {
  Question question{reinterpret_cast<ElfW(Addr)>(code), {}};
  dl_iterate_phdr(&look_at, &question);
  // Not reported where this thread has not used it, nor where it is found by TLS descriptors.
  if (question.answer.module != 0 && question.answer.begin == nullptr) {
    question.answer.begin = static_cast<char*>(address_in_this_thread({question.answer.module, 0}));
  }
  return question.answer;
}

void* address_in_this_thread(const ThreadLocalPlace& place) noexcept {
  ThreadLocalPlace asked = place;
  return __tls_get_addr(&asked);
}

}  // namespace suspend
