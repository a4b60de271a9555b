// Which objects are redirected.
#include "plugin/blocking/policy.h"

#include <gtest/gtest.h>

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

TEST(Classify, LeavesTheRestAlone) {
  for (const char* path :
       {"", "/lib/libc.so.6", "/lib/libev.so.4", "/lib/libpqxx-7.7.so", "/lib/libpqxx.so",
        "/lib/libsslfake.so", "/lib/mylibpq.so", "/usr/lib/uwsgi/plugins/python3_plugin.so",
        "/libpq.so/other.so", "linux-vdso.so.1"}) {
    EXPECT_EQ(Kind::kOther, kind_of(path)) << path;
  }
}

TEST(Classify, AddsTheLibrariesOfTheUser) {
  const ObjectChoice choice{{"libfoo"}, {}};
  EXPECT_EQ(Kind::kListed, kind_of("/opt/libfoo.so.1", choice));
  EXPECT_EQ(Kind::kListed, kind_of("/opt/libfoo-0a1b.so", choice));
  EXPECT_EQ(Kind::kListed, kind_of("/opt/libfoo", choice));
  EXPECT_EQ(Kind::kOther, kind_of("/opt/libfoobar.so", choice));
}

TEST(Classify, RemovesTheLibrariesOfTheUserFirst) {
  const ObjectChoice choice{{"libpq", "libfoo"}, {"libpq", "_ssl"}};
  EXPECT_EQ(Kind::kOther, kind_of("/lib/libpq.so.5", choice));
  EXPECT_EQ(Kind::kOther, kind_of("/lib/_ssl.cpython-311-x86_64-linux-gnu.so", choice));
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

}  // namespace
}  // namespace blocking
