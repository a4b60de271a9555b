#include "plugin/blocking/got.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cassert>
#include <utility>

namespace blocking {
namespace {

#if defined(__x86_64__)
constexpr unsigned int kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr unsigned int kMachine = EM_AARCH64;
#else
#error "blocking calls are redirected on x86-64 and aarch64 only"
#endif

ElfW(Addr) page_of(ElfW(Addr) address) noexcept {
  static const ElfW(Addr) page = static_cast<ElfW(Addr)>(sysconf(_SC_PAGESIZE));
  return address / page * page;
}

// glibc stores absolute addresses in a loaded object's dynamic section; other
// loaders (and the vDSO) leave offsets.
ElfW(Addr) absolute(ElfW(Addr) base, ElfW(Addr) address) noexcept {
  return address < base ? base + address : address;
}

int redirect_table(const ObjectTables& object, const ElfW(Rela)* table, std::size_t count,
                   const Replacements& replacements, std::vector<Slot>& changed) {
  int redirected = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const ElfW(Rela)& entry = table[i];
    if (!fills_function_slot(kMachine, ELF64_R_TYPE(entry.r_info))) continue;
    const std::size_t name_at = object.symbols[ELF64_R_SYM(entry.r_info)].st_name;
    if (name_at == 0 || name_at >= object.strings_size) continue;
    const auto found = replacements.find(object.strings + name_at);
    if (found == replacements.end()) continue;
    auto** address = reinterpret_cast<void**>(object.base + entry.r_offset);
    if (*address == found->second) continue;
    const Slot slot{address, *address, object.relro_begin, object.relro_end};
    if (!write_slot(slot, found->second)) continue;
    changed.push_back(slot);
    ++redirected;
  }
  return redirected;
}

}  // namespace

bool fills_function_slot(unsigned int machine, unsigned int type) noexcept {
  switch (machine) {
    case EM_X86_64:
      return type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT;
    case EM_AARCH64:
      return type == R_AARCH64_JUMP_SLOT || type == R_AARCH64_GLOB_DAT;
    default:
      return false;
  }
}

bool holds(const dl_phdr_info& info, const void* address) noexcept {
  const auto at = reinterpret_cast<ElfW(Addr)>(address);
  for (int i = 0; i < info.dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = info.dlpi_phdr[i];
    const ElfW(Addr) begin = info.dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_LOAD && at >= begin && at < begin + segment.p_memsz) return true;
  }
  return false;
}

ObjectTables tables_of(const void* address) {
  std::pair<const void*, ObjectTables> asked{address, {}};
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* question) {
        auto& [sought, tables] = *static_cast<std::pair<const void*, ObjectTables>*>(question);
        if (!holds(*info, sought)) return 0;
        tables = read_tables(*info);
        return 1;
      },
      &asked);
  return std::move(asked.second);
}

ObjectTables read_tables(const dl_phdr_info& info) {
  ObjectTables object;
  object.name = info.dlpi_name == nullptr ? "" : info.dlpi_name;
  object.base = info.dlpi_addr;
  const ElfW(Dyn)* dynamic = nullptr;
  for (int i = 0; i < info.dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = info.dlpi_phdr[i];
    if (segment.p_type == PT_DYNAMIC) {
      dynamic = reinterpret_cast<const ElfW(Dyn)*>(object.base + segment.p_vaddr);
    } else if (segment.p_type == PT_GNU_RELRO) {
      object.relro_begin = page_of(object.base + segment.p_vaddr);
      object.relro_end = page_of(object.base + segment.p_vaddr + segment.p_memsz);
    }
  }
  if (dynamic == nullptr) return object;
  std::size_t plt_size = 0;
  std::size_t data_size = 0;
  bool plt_is_rela = true;
  for (; dynamic->d_tag != DT_NULL; ++dynamic) {
    const ElfW(Addr) address = absolute(object.base, dynamic->d_un.d_ptr);
    switch (dynamic->d_tag) {
      case DT_SYMTAB: object.symbols = reinterpret_cast<const ElfW(Sym)*>(address); break;
      case DT_STRTAB: object.strings = reinterpret_cast<const char*>(address); break;
      case DT_STRSZ: object.strings_size = dynamic->d_un.d_val; break;
      case DT_JMPREL: object.plt = reinterpret_cast<const ElfW(Rela)*>(address); break;
      case DT_PLTRELSZ: plt_size = dynamic->d_un.d_val; break;
      case DT_PLTREL: plt_is_rela = dynamic->d_un.d_val == DT_RELA; break;
      case DT_RELA: object.data = reinterpret_cast<const ElfW(Rela)*>(address); break;
      case DT_RELASZ: data_size = dynamic->d_un.d_val; break;
      default: break;
    }
  }
  if (object.symbols == nullptr || object.strings == nullptr) return object;
  if (object.plt != nullptr && plt_is_rela) object.plt_count = plt_size / sizeof(ElfW(Rela));
  if (object.data != nullptr) object.data_count = data_size / sizeof(ElfW(Rela));
  return object;
}

int redirect(const ObjectTables& object, const Replacements& replacements,
             std::vector<Slot>& changed) {
  return redirect_table(object, object.plt, object.plt_count, replacements, changed) +
         redirect_table(object, object.data, object.data_count, replacements, changed);
}

bool write_slot(const Slot& slot, void* value) noexcept {
  const auto address = reinterpret_cast<ElfW(Addr)>(slot.address);
  const bool sealed = address >= slot.relro_begin && address < slot.relro_end;
  void* page = reinterpret_cast<void*>(page_of(address));
  // A slot is a pointer, aligned, so it never straddles pages.
  if (sealed && mprotect(page, sizeof(void*), PROT_READ | PROT_WRITE) != 0) return false;
  __atomic_store_n(slot.address, value, __ATOMIC_RELEASE);
  if (sealed) mprotect(page, sizeof(void*), PROT_READ);
  return true;
}

}  // namespace blocking
