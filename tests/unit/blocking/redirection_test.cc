// Which objects are redirected.
#include "plugin/blocking/redirection.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <set>
#include <utility>

#include "plugin/blocking/replacements.h"

namespace blocking {
namespace {

Kind kind_of(const char* path, const ObjectChoice& choice = {}) { return classify(path, false, choice); }

TEST(Classify, FindsPythonWhereverItIsLinked) {
  EXPECT_EQ(Kind::kLibpython, classify("/usr/lib/libpython3.11.so.1.0", true, {}));
  EXPECT_EQ(Kind::kLibpython, classify("", true, {}));
  EXPECT_EQ(Kind::kLibpython, classify("/usr/bin/uwsgi", true, {{}, {"uwsgi"}}));
}

TEST(Classify, ListsExtensionModules) {
  EXPECT_EQ(Kind::kListed, kind_of("/x/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so"));
  EXPECT_EQ(Kind::kListed, kind_of("/x/psycopg2/_psycopg.cpython-311-aarch64-linux-gnu.so"));
  EXPECT_EQ(Kind::kListed, kind_of("/x/cryptography/_rust.abi3.so"));
}

TEST(Classify, ListsKnownLibraries) {
  for (const char* name :
       {"libpq.so.5", "libmariadb.so.3", "libmysqlclient.so.21", "libssl.so.3", "libcrypto.so.3",
        "libcurl.so.4", "libcurl-gnutls.so.4", "libhiredis.so.0.14", "libmemcached.so.11"}) {
    EXPECT_EQ(Kind::kListed, kind_of(name)) << name;
  }
}

TEST(Classify, ListsLibrariesThatWheelsBundleUnderHashedNames) {
  EXPECT_EQ(Kind::kListed, kind_of("/x/psycopg2_binary.libs/libpq-9b38f5e3.so.5.17"));
  EXPECT_EQ(Kind::kListed, kind_of("/x/psycopg2_binary.libs/libssl-3e69114b.so.3"));
}

TEST(Classify, SeesTheLocksOfTheRest) {
  for (const char* path :
       {"/lib/libpqxx-7.7.so", "/lib/libpqxx.so", "/lib/libsslfake.so", "/lib/mylibpq.so",
        "/libpq.so/other.so", "/lib/libstdc++.so.6", "/lib/libcap.so.2", "/lib/libmvec.so.1"}) {
    EXPECT_EQ(Kind::kLocksOnly, kind_of(path)) << path;
  }
}

TEST(Classify, LeavesWhatIsBelowAndUwsgiAlone) {
  for (const char* path : {"", "/lib/libc.so.6", "/lib/libc-2.31.so", "/lib/libpthread.so.0",
                           "/lib64/ld-linux-x86-64.so.2", "linux-vdso.so.1", "/lib/libev.so.4",
                           "/lib/libasan.so.8", "/usr/lib/uwsgi/plugins/python3_plugin.so"}) {
    EXPECT_EQ(Kind::kLeftAlone, kind_of(path)) << path;
  }
}

TEST(Classify, AddsTheLibrariesOfTheUser) {
  const ObjectChoice choice{{"libfoo"}, {}};
  EXPECT_EQ(Kind::kListed, kind_of("/opt/libfoo.so.1", choice));
  EXPECT_EQ(Kind::kListed, kind_of("/opt/libfoo-0a1b.so", choice));
  EXPECT_EQ(Kind::kListed, kind_of("/opt/libfoo", choice));
  EXPECT_EQ(Kind::kLocksOnly, kind_of("/opt/libfoobar.so", choice));
}

TEST(Classify, RemovesTheLibrariesOfTheUserFirst) {
  const ObjectChoice choice{{"libpq", "libfoo"}, {"libpq", "_ssl"}};
  EXPECT_EQ(Kind::kLeftAlone, kind_of("/lib/libpq.so.5", choice));
  EXPECT_EQ(Kind::kLeftAlone, kind_of("/lib/_ssl.cpython-311-x86_64-linux-gnu.so", choice));
  EXPECT_EQ(Kind::kListed, kind_of("/lib/libfoo.so", choice));
}

// libev is the one library of this program that calls what is redirected.
TEST(Redirection, FindsSlotsOnceAndPutsThemBack) {
  Redirection redirection({{"libev"}, {}}, false, {});
  EXPECT_EQ(&redirection, Redirection::active());
  redirection.look();
  const int slots = redirection.slot_count();
  EXPECT_GT(slots, 0);
  ASSERT_EQ(1u, redirection.objects().size());
  EXPECT_EQ(slots, redirection.objects()[0].slots);
  EXPECT_EQ(redirection.objects()[0].name + " " + std::to_string(slots), redirection.summary());
  EXPECT_EQ(0u, redirection.summary().find("libev.so"));
  redirection.look();
  EXPECT_EQ(slots, redirection.slot_count());

  redirection.undo();
  EXPECT_EQ(0, redirection.slot_count());
  EXPECT_EQ("", redirection.summary());
  redirection.look();
  EXPECT_EQ(slots, redirection.slot_count());
}

TEST(Redirection, WithoutListedObjectsFindsNothing) {
  Redirection redirection({}, false, {});
  redirection.look();
  EXPECT_EQ("", redirection.summary());
}

TEST(Redirection, OfIdentityOnlyLeavesListedObjectsAlone) {
  Redirection redirection({{"libev"}, {}}, true, {});
  redirection.look();
  EXPECT_EQ(0, redirection.slot_count());
}

TEST(Redirection, LooksAgainOnlyWhileThereIsOne) {
  EXPECT_EQ(nullptr, Redirection::active());
  Redirection::look_again();
  Redirection redirection({{"libev"}, {}}, false, {});
  Redirection::look_again();
  EXPECT_GT(redirection.slot_count(), 0);
}

// A library that nothing here needs, so that it comes and goes.
class LibraryThatGoes : public ::testing::Test {
 protected:
  ~LibraryThatGoes() override { unload(); }
  void load() {
    handle_ = dlopen("libz.so.1", RTLD_NOW);
    ASSERT_NE(nullptr, handle_);
    code_ = dlsym(handle_, "gzread");
  }
  void unload() {
    if (handle_ != nullptr) dlclose(std::exchange(handle_, nullptr));
  }
  ObjectKey key() const {
    const ObjectTables tables = tables_of(code_);
    return {tables.base, tables.name};
  }
  bool is_loaded() const { return tables_of(code_).symbols != nullptr; }
  // Where the library's read() leads.
  void* read_leads_to() const {
    const int marker = 0;
    std::vector<Slot> slots;
    redirect(tables_of(code_), {{"read", const_cast<int*>(&marker)}}, slots);
    for (const Slot& slot : slots) write_slot(slot, slot.original);
    return slots.empty() ? nullptr : slots[0].original;
  }
  static void* replacement_of_read() {
    for (const Replacement& one : replacements()) {
      if (std::string_view(one.name) == "read") return one.replacement;
    }
    return nullptr;
  }

  Redirection redirection_{{{"libz"}, {}}, false, {}};

 private:
  void* handle_ = nullptr;
  const void* code_ = nullptr;
};

TEST_F(LibraryThatGoes, IsForgotten) {
  load();
  redirection_.look();
  EXPECT_EQ(replacement_of_read(), read_leads_to());
  ASSERT_EQ(1u, redirection_.objects().size());
  unload();
  ASSERT_FALSE(is_loaded());
  redirection_.look();
  EXPECT_EQ(0u, redirection_.objects().size());
}

// Back at the same address before anybody looked, it is another object with the same key.
TEST_F(LibraryThatGoes, IsRedirectedAnewWhenItComesBack) {
  load();
  redirection_.look();
  const int slots = redirection_.slot_count();
  const ObjectKey before = key();
  unload();
  load();
  ASSERT_TRUE(before == key());
  EXPECT_NE(replacement_of_read(), read_leads_to());
  redirection_.look();
  EXPECT_EQ(replacement_of_read(), read_leads_to());
  EXPECT_EQ(slots, redirection_.slot_count());
}

TEST_F(LibraryThatGoes, HasNothingToUndo) {
  load();
  redirection_.look();
  unload();
  redirection_.undo();
  load();
  void* const fresh = read_leads_to();
  redirection_.undo();
  EXPECT_EQ(fresh, read_leads_to());
}

// What was undone is what we wrote, not what came after us.
TEST_F(LibraryThatGoes, KeepsWhatAnotherWroteIntoItsSlots) {
  load();
  redirection_.look();
  int another = 0;
  std::vector<Slot> written;
  redirect(tables_of(reinterpret_cast<const void*>(key().base)), {{"read", &another}}, written);
  redirection_.undo();
  EXPECT_EQ(&another, read_leads_to());
}

TEST_F(LibraryThatGoes, StaysWhileItIsHeld) {
  load();
  const ObjectKey loaded = key();
  {
    const HeldObject held(loaded);
    EXPECT_TRUE(held);
    unload();
    EXPECT_TRUE(is_loaded());
  }
  EXPECT_FALSE(is_loaded());
  EXPECT_FALSE(HeldObject(loaded));
}

TEST_F(LibraryThatGoes, IsNotHeldAtAnotherAddress) {
  load();
  ObjectKey moved = key();
  moved.base += 4096;
  EXPECT_FALSE(HeldObject(moved));
}

TEST(Replacements, AreOnePerNameAndKindOfObject) {
  std::set<std::pair<std::string_view, Kind>> known;
  for (const Replacement& one : replacements()) {
    EXPECT_NE(nullptr, one.replacement) << one.name;
    for (const Kind kind : {Kind::kLibpython, Kind::kListed, Kind::kLocksOnly}) {
      if (!reaches(one.scope, kind)) continue;
      EXPECT_TRUE(known.insert({one.name, kind}).second) << one.name;
    }
  }
  for (const LeftAlone& one : left_alone()) {
    for (const Kind kind : {Kind::kLibpython, Kind::kListed, Kind::kLocksOnly}) {
      if (!reaches(one.scope, kind)) continue;
      EXPECT_TRUE(known.insert({one.name, kind}).second) << one.name << " is replaced";
    }
  }
}

}  // namespace
}  // namespace blocking
