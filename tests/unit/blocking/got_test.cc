// Redirection of slots, on tables made by hand and on those of the running program.
#include "plugin/blocking/got.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

namespace blocking {
namespace {

#if defined(__x86_64__)
constexpr unsigned int kJumpSlot = R_X86_64_JUMP_SLOT, kGlobDat = R_X86_64_GLOB_DAT,
                       kRelative = R_X86_64_RELATIVE;
#else
constexpr unsigned int kJumpSlot = R_AARCH64_JUMP_SLOT, kGlobDat = R_AARCH64_GLOB_DAT,
                       kRelative = R_AARCH64_RELATIVE;
#endif

TEST(Relocations, ThatFillFunctionSlotsAreKnownForEachMachine) {
  EXPECT_TRUE(fills_function_slot(EM_X86_64, R_X86_64_JUMP_SLOT));
  EXPECT_TRUE(fills_function_slot(EM_X86_64, R_X86_64_GLOB_DAT));
  EXPECT_TRUE(fills_function_slot(EM_AARCH64, R_AARCH64_JUMP_SLOT));
  EXPECT_TRUE(fills_function_slot(EM_AARCH64, R_AARCH64_GLOB_DAT));
}

TEST(Relocations, OfOtherKindsAreLeftAlone) {
  const unsigned int x86[] = {R_X86_64_NONE,     R_X86_64_64,       R_X86_64_COPY,
                              R_X86_64_RELATIVE, R_X86_64_DTPMOD64, R_X86_64_IRELATIVE};
  const unsigned int arm[] = {R_AARCH64_NONE,     R_AARCH64_ABS64,      R_AARCH64_COPY,
                              R_AARCH64_RELATIVE, R_AARCH64_TLS_DTPMOD, R_AARCH64_IRELATIVE};
  for (const unsigned int type : x86) EXPECT_FALSE(fills_function_slot(EM_X86_64, type)) << type;
  for (const unsigned int type : arm) EXPECT_FALSE(fills_function_slot(EM_AARCH64, type)) << type;
  // One machine's numbers mean nothing on the other.
  EXPECT_FALSE(fills_function_slot(EM_AARCH64, R_X86_64_JUMP_SLOT));
  EXPECT_FALSE(fills_function_slot(EM_X86_64, R_AARCH64_JUMP_SLOT));
  EXPECT_FALSE(fills_function_slot(EM_386, R_386_JMP_SLOT));
}

// How /proc/self/maps shows the page of `address`: "r--p".
std::string protection_of(const void* address) {
  std::ifstream maps("/proc/self/maps");
  std::string line;
  while (std::getline(maps, line)) {
    std::uintptr_t begin = 0, end = 0;
    char protection[5] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, protection) != 3) continue;
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    if (at >= begin && at < end) return protection;
  }
  return "none";
}

int original_function, other_function, own_replacement;

// An object with slots for poll (PLT), poll and recv (data), in a page of its own.
class FabricatedObject {
 public:
  FabricatedObject() : page_size_(static_cast<std::size_t>(sysconf(_SC_PAGESIZE))) {
    slots_ = static_cast<void**>(
        mmap(nullptr, page_size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (int i = 0; i < 5; ++i) slots_[i] = &original_function;
    slots_[2] = &other_function;
    symbols_ = {symbol(0), symbol(1), symbol(6), symbol(999)};
    plt_ = {slot(0, 1, kJumpSlot), slot(4, 3, kJumpSlot)};
    data_ = {slot(1, 1, kGlobDat), slot(2, 2, kGlobDat), slot(3, 0, kRelative)};
    tables_.name = "/lib/libfabricated.so";
    tables_.base = base();
    tables_.writable_begin = base();
    tables_.writable_end = base() + page_size_;
    tables_.symbols = symbols_.data();
    tables_.symbols_count = symbols_.size();
    tables_.strings = kStrings;
    tables_.strings_size = sizeof kStrings;
    tables_.plt = plt_.data();
    tables_.plt_count = plt_.size();
    tables_.data = data_.data();
    tables_.data_count = data_.size();
  }
  ~FabricatedObject() { munmap(slots_, page_size_); }

  // As the loader does with -z relro.
  void seal() {
    tables_.relro_begin = base();
    tables_.relro_end = base() + page_size_;
    mprotect(slots_, page_size_, PROT_READ);
  }
  const ObjectTables& tables() const { return tables_; }
  void* const& slot(int index) const { return slots_[index]; }

 private:
  static constexpr char kStrings[] = "\0poll\0recv";
  ElfW(Addr) base() const { return reinterpret_cast<ElfW(Addr)>(slots_); }
  static ElfW(Sym) symbol(unsigned int name) {
    ElfW(Sym) result{};
    result.st_name = name;
    return result;
  }
  static ElfW(Rela) slot(std::size_t index, std::uint64_t symbol, unsigned int type) {
    ElfW(Rela) result{};
    result.r_offset = index * sizeof(void*);
    result.r_info = ELF64_R_INFO(symbol, type);
    return result;
  }

  const std::size_t page_size_;
  void** slots_;
  std::vector<ElfW(Sym)> symbols_;
  std::vector<ElfW(Rela)> plt_, data_;
  ObjectTables tables_;
};

const Replacements kPoll{{"poll", &own_replacement}};

TEST(Redirect, ChangesTheSlotsOfTheNamedFunctionOnly) {
  const FabricatedObject object;
  std::vector<Slot> changed;
  EXPECT_EQ(2, redirect(object.tables(), kPoll, changed));
  EXPECT_EQ(&own_replacement, object.slot(0));
  EXPECT_EQ(&own_replacement, object.slot(1));
  EXPECT_EQ(&other_function, object.slot(2));
  EXPECT_EQ(&original_function, object.slot(3));  // A relocation that is no function's.
  EXPECT_EQ(&original_function, object.slot(4));  // A name beyond the string table.
  EXPECT_EQ(2u, changed.size());
}

TEST(Redirect, TwiceChangesNothingMore) {
  const FabricatedObject object;
  std::vector<Slot> changed;
  redirect(object.tables(), kPoll, changed);
  EXPECT_EQ(0, redirect(object.tables(), kPoll, changed));
  EXPECT_EQ(2u, changed.size());
  EXPECT_EQ(&original_function, changed[0].original);
}

TEST(Redirect, IsUndoneSlotBySlot) {
  FabricatedObject object;
  object.seal();
  std::vector<Slot> changed;
  redirect(object.tables(), kPoll, changed);
  for (const Slot& slot : changed) EXPECT_TRUE(write_slot(slot, slot.original));
  EXPECT_EQ(&original_function, object.slot(0));
  EXPECT_EQ(&original_function, object.slot(1));
  EXPECT_EQ("r--p", protection_of(&object.slot(0)));
}

TEST(Redirect, SealsAReadOnlyPageAgain) {
  FabricatedObject object;
  object.seal();
  ASSERT_EQ("r--p", protection_of(&object.slot(0)));
  std::vector<Slot> changed;
  EXPECT_EQ(2, redirect(object.tables(), kPoll, changed));
  EXPECT_EQ(&own_replacement, object.slot(0));
  EXPECT_EQ("r--p", protection_of(&object.slot(0)));
}

TEST(Redirect, LeavesAWritablePageWritable) {
  const FabricatedObject object;
  std::vector<Slot> changed;
  redirect(object.tables(), kPoll, changed);
  EXPECT_EQ("rw-p", protection_of(&object.slot(0)));
}

TEST(RedirectDeathTest, NobodyElseCanWriteTheSlotAfterwards) {
  FabricatedObject object;
  object.seal();
  std::vector<Slot> changed;
  redirect(object.tables(), kPoll, changed);
  EXPECT_DEATH(*const_cast<void* volatile*>(changed[0].address) = nullptr, "");
}

TEST(Redirect, OfAnObjectWithoutTablesDoesNothing) {
  std::vector<Slot> changed;
  EXPECT_EQ(0, redirect(ObjectTables{}, kPoll, changed));
}

TEST(WriteSlot, SaysThatThePageCannotBeOpened) {
  const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* page = mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(page, size);
  const auto begin = reinterpret_cast<ElfW(Addr)>(page);
  EXPECT_FALSE(write_slot({static_cast<void**>(page), nullptr, nullptr, begin, begin + size}, nullptr));
}

TEST(ReadTables, OfTheRunningProgramAndItsLibraries) {
  int programs = 0, libc = 0;
  for_each_object([&](const dl_phdr_info& info) {
    const ObjectTables object = read_tables(info);
    if (object.name.empty()) ++programs;
    if (object.name.find("libc.so") == std::string::npos) return false;
    ++libc;
    EXPECT_EQ(info.dlpi_addr, object.base);
    EXPECT_NE(nullptr, object.symbols);
    if (object.strings == nullptr) return true;
    EXPECT_EQ('\0', object.strings[0]);
    EXPECT_EQ('\0', object.strings[object.strings_size - 1]);
    EXPECT_GT(object.plt_count + object.data_count, 0u);
    EXPECT_LT(object.relro_begin, object.relro_end);
    return false;
  });
  EXPECT_EQ(1, programs);
  EXPECT_EQ(1, libc);
}

// The program calls getppid() through a slot of its own.
TEST(ReadTables, LeadToASlotThatTheProgramCallsThrough) {
  static int (*const kForty)() = [] { return 40; };
  std::vector<Slot> changed;
  for_each_object([&](const dl_phdr_info& info) {
    const ObjectTables object = read_tables(info);
    if (object.name.empty()) redirect(object, {{"getppid", reinterpret_cast<void*>(kForty)}}, changed);
    return false;
  });
  ASSERT_FALSE(changed.empty());
  EXPECT_EQ(40, getppid());
  for (const Slot& slot : changed) {
    const auto address = reinterpret_cast<ElfW(Addr)>(slot.address);
    const bool sealed = address >= slot.relro_begin && address < slot.relro_end;
    EXPECT_EQ(sealed ? "r--p" : "rw-p", protection_of(slot.address));
  }
  for (const Slot& slot : changed) write_slot(slot, slot.original);
  EXPECT_NE(40, getppid());
}

TEST(ForEachObject, IsWithoutMemoryWhereItsVisitorIs) {
  int shown = 0;
  const auto visit = [&](const dl_phdr_info&) -> bool {
    ++shown;
    throw std::bad_alloc();
  };
  EXPECT_THROW(for_each_object(visit), std::bad_alloc);
  EXPECT_EQ(1, shown);
}

TEST(ReadTables, LeavesNullWhatAnObjectLacks) {
  dl_phdr_info info{};
  const ObjectTables nothing = read_tables(info);
  EXPECT_EQ("", nothing.name);
  EXPECT_EQ(nullptr, nothing.symbols);
  EXPECT_EQ(0u, nothing.plt_count + nothing.data_count);

  // A dynamic section that names sizes but no tables.
  ElfW(Dyn) dynamic[3] = {};
  dynamic[0].d_tag = DT_PLTRELSZ;
  dynamic[0].d_un.d_val = 240;
  dynamic[1].d_tag = DT_RELASZ;
  dynamic[1].d_un.d_val = 240;
  ElfW(Phdr) segment{};
  segment.p_type = PT_DYNAMIC;
  segment.p_vaddr = reinterpret_cast<ElfW(Addr)>(dynamic);
  info.dlpi_name = "bare";
  info.dlpi_phdr = &segment;
  info.dlpi_phnum = 1;
  const ObjectTables bare = read_tables(info);
  EXPECT_EQ("bare", bare.name);
  EXPECT_EQ(0u, bare.plt_count + bare.data_count);
  std::vector<Slot> changed;
  EXPECT_EQ(0, redirect(bare, kPoll, changed));
}

TEST(TablesOf, AreThoseOfTheObjectThatHoldsTheAddress) {
  // One that no sanitizer puts its own in front of.
  const ObjectTables of_libc = tables_of(dlsym(RTLD_DEFAULT, "gnu_get_libc_version"));
  EXPECT_NE(std::string::npos, of_libc.name.find("libc.so"));
  EXPECT_NE(nullptr, of_libc.symbols);
  const int on_no_object = 0;
  EXPECT_EQ(nullptr, tables_of(&on_no_object).symbols);
}

}  // namespace
}  // namespace blocking
