// Redirects calls that loaded objects make through their global offset tables.
#pragma once

#include <link.h>
// <elf.h> makes macros of names that <ev.h> has as enumerators.
#undef EV_NONE
#undef EV_CURRENT

#include <cstddef>
#include <new>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace blocking {

// The tables of one loaded object, as its PT_DYNAMIC segment names them. Misaligned tables, and tables
// outside loaded segments, are ignored, and counts end at the end of the segment. So parts of an object from
// an odd linker may be left alone, but nothing else is ever read or written.
struct ObjectTables {
  std::string name;  // Its path; empty for the main program.
  ElfW(Addr) base = 0;
  const ElfW(Sym) * symbols = nullptr;
  std::size_t symbols_count = 0;  // An upper bound: the dynamic section does not say it.
  const char* strings = nullptr;
  std::size_t strings_size = 0;
  const ElfW(Rela) * plt = nullptr;
  std::size_t plt_count = 0;
  const ElfW(Rela) * data = nullptr;
  std::size_t data_count = 0;
  ElfW(Addr) relro_begin = 0;  // Sealed by the loader; empty when begin == end.
  ElfW(Addr) relro_end = 0;
  ElfW(Addr) writable_begin = 0;  // Slots lie in here: from the first writable segment to the last.
  ElfW(Addr) writable_end = 0;
};

// Reads the tables of the object `info` describes. Fields it lacks stay null.
ObjectTables read_tables(const dl_phdr_info& info);

// True when `address` lies in the object `info` describes.
bool holds(const dl_phdr_info& info, const void* address) noexcept;

// Calls visit(info) for each loaded object until it returns true. The loader keeps every object mapped
// meanwhile, and calls us from C.
template <typename Visit>
void for_each_object(Visit visit) {
  struct Walk {
    Visit& visit;
    bool out_of_memory;
  } walk{visit, false};
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* argument) noexcept {
        auto& running = *static_cast<Walk*>(argument);
        try {
          return running.visit(*info) ? 1 : 0;
        } catch (const std::bad_alloc&) {
          running.out_of_memory = true;
          return 1;
        }
      },
      &walk);
  if (walk.out_of_memory) throw std::bad_alloc();
}

// The tables of the loaded object that contains `address`; all null if there is none.
ObjectTables tables_of(const void* address);

// A redirected slot, with its old value.
struct Slot {
  void** address;
  void* original;
  void* replacement;
  ElfW(Addr) relro_begin;
  ElfW(Addr) relro_end;
};

using Replacements = std::unordered_map<std::string_view, void*>;

// Points every slot of `object` that calls a function named in `replacements`
// to its replacement, and appends what it changed to `changed`.
// Returns the number of slots changed; one that already points there is not counted.
int redirect(const ObjectTables& object, const Replacements& replacements, std::vector<Slot>& changed);

// The `names` that `object` calls through a slot.
std::vector<std::string_view> imports_of(const ObjectTables& object,
                                         const std::unordered_set<std::string_view>& names);

// Writes `value` into a slot, opening and sealing its RELRO page when it has one.
// Returns false, with errno, when the page cannot be opened.
bool write_slot(const Slot& slot, void* value) noexcept;

// True for the relocation types that fill a slot with a function's address:
// JUMP_SLOT and GLOB_DAT. `machine` is an EM_ value of <elf.h>.
bool fills_function_slot(unsigned int machine, unsigned int type) noexcept;

}  // namespace blocking
