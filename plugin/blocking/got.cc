#include "plugin/blocking/got.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <limits>
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

// How many bytes of a loaded segment there are from `address` on; 0 outside of all.
std::size_t room_at(const dl_phdr_info& info, ElfW(Addr) address) noexcept {
  for (int i = 0; i < info.dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = info.dlpi_phdr[i];
    const ElfW(Addr) begin = info.dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_LOAD && address >= begin && address - begin < segment.p_memsz) {
      return segment.p_memsz - (address - begin);
    }
  }
  return 0;
}

// A table in a loaded segment: as many entries of `wanted` bytes as lie there.
template <typename Entry>
std::size_t take_table(const dl_phdr_info& info, ElfW(Addr) address, std::size_t wanted,
                       const Entry*& table) noexcept {
  const std::size_t size = std::min(wanted, room_at(info, address));
  if (size < sizeof(Entry) || address % alignof(Entry) != 0) return 0;
  table = reinterpret_cast<const Entry*>(address);
  return size / sizeof(Entry);
}

// The name of an entry's symbol; empty where it has none.
std::string_view name_of(const ObjectTables& object, const ElfW(Rela) & entry) noexcept {
  const std::size_t symbol = ELF64_R_SYM(entry.r_info);
  if (symbol >= object.symbols_count) return {};
  const std::size_t at = object.symbols[symbol].st_name;
  if (at == 0 || at >= object.strings_size) return {};
  return {object.strings + at, strnlen(object.strings + at, object.strings_size - at)};
}

bool may_be_slot(const ObjectTables& object, ElfW(Addr) address) noexcept {
  return address % alignof(void*) == 0 && address >= object.writable_begin && address < object.writable_end &&
         object.writable_end - address >= sizeof(void*);
}

int redirect_table(const ObjectTables& object, const ElfW(Rela) * table, std::size_t count,
                   const Replacements& replacements, std::vector<Slot>& changed) {
  int redirected = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const ElfW(Rela)& entry = table[i];
    if (!fills_function_slot(kMachine, ELF64_R_TYPE(entry.r_info))) continue;
    const auto found = replacements.find(name_of(object, entry));
    if (found == replacements.end() || !may_be_slot(object, object.base + entry.r_offset)) continue;
    auto** address = reinterpret_cast<void**>(object.base + entry.r_offset);
    if (*address == found->second) continue;
    const Slot slot{address, *address, found->second, object.relro_begin, object.relro_end};
    if (!write_slot(slot, found->second)) continue;
    changed.push_back(slot);
    ++redirected;
  }
  return redirected;
}

}  // namespace

bool fills_function_slot(unsigned int machine, unsigned int type) noexcept {
  switch (machine) {
    case EM_X86_64: return type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT;
    case EM_AARCH64: return type == R_AARCH64_JUMP_SLOT || type == R_AARCH64_GLOB_DAT;
    default: return false;
  }
}

bool holds(const dl_phdr_info& info, const void* address) noexcept {
  return room_at(info, reinterpret_cast<ElfW(Addr)>(address)) != 0;
}

ObjectTables tables_of(const void* address) {
  ObjectTables tables;
  for_each_object([&](const dl_phdr_info& info) {
    if (!holds(info, address)) return false;
    tables = read_tables(info);
    return true;
  });
  return tables;
}

ObjectTables read_tables(const dl_phdr_info& info) {
  ObjectTables object;
  object.name = info.dlpi_name == nullptr ? "" : info.dlpi_name;
  object.base = info.dlpi_addr;
  ElfW(Addr) dynamic_at = 0;
  std::size_t dynamic_size = 0;
  for (int i = 0; i < info.dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = info.dlpi_phdr[i];
    const ElfW(Addr) begin = object.base + segment.p_vaddr;
    if (segment.p_type == PT_DYNAMIC) {
      dynamic_at = begin;
      dynamic_size = segment.p_memsz;
    } else if (segment.p_type == PT_GNU_RELRO) {
      object.relro_begin = page_of(begin);
      object.relro_end = page_of(begin + segment.p_memsz);
    } else if (segment.p_type == PT_LOAD && (segment.p_flags & PF_W) != 0) {
      if (object.writable_end == 0) object.writable_begin = begin;
      object.writable_begin = std::min(object.writable_begin, begin);
      object.writable_end = std::max(object.writable_end, begin + segment.p_memsz);
    }
  }
  const ElfW(Dyn)* dynamic = nullptr;
  const std::size_t dynamic_count = take_table(info, dynamic_at, dynamic_size, dynamic);
  ElfW(Addr) symbols = 0, strings = 0, plt = 0, data = 0;
  std::size_t strings_size = 0, plt_size = 0, data_size = 0;
  bool plt_is_rela = true;
  for (std::size_t i = 0; i < dynamic_count && dynamic[i].d_tag != DT_NULL; ++i) {
    const std::size_t value = dynamic[i].d_un.d_val;
    const ElfW(Addr) address = absolute(object.base, dynamic[i].d_un.d_ptr);
    switch (dynamic[i].d_tag) {
      case DT_SYMTAB: symbols = address; break;
      case DT_STRTAB: strings = address; break;
      case DT_STRSZ: strings_size = value; break;
      case DT_JMPREL: plt = address; break;
      case DT_PLTRELSZ: plt_size = value; break;
      case DT_PLTREL: plt_is_rela = value == DT_RELA; break;
      case DT_RELA: data = address; break;
      case DT_RELASZ: data_size = value; break;
      default: break;
    }
  }
  object.symbols_count = take_table(info, symbols, std::numeric_limits<std::size_t>::max(), object.symbols);
  object.strings_size = take_table(info, strings, strings_size, object.strings);
  if (object.symbols == nullptr || object.strings == nullptr) return object;
  if (plt_is_rela) object.plt_count = take_table(info, plt, plt_size, object.plt);
  object.data_count = take_table(info, data, data_size, object.data);
  return object;
}

int redirect(const ObjectTables& object, const Replacements& replacements, std::vector<Slot>& changed) {
  return redirect_table(object, object.plt, object.plt_count, replacements, changed) +
         redirect_table(object, object.data, object.data_count, replacements, changed);
}

std::vector<std::string_view> imports_of(const ObjectTables& object,
                                         const std::unordered_set<std::string_view>& names) {
  std::vector<std::string_view> found;
  for (const auto& [table, count] :
       {std::pair(object.plt, object.plt_count), std::pair(object.data, object.data_count)}) {
    for (std::size_t i = 0; i < count; ++i) {
      if (!fills_function_slot(kMachine, ELF64_R_TYPE(table[i].r_info))) continue;
      const auto name = names.find(name_of(object, table[i]));
      if (name == names.end() || std::find(found.begin(), found.end(), *name) != found.end()) continue;
      found.push_back(*name);
    }
  }
  return found;
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
