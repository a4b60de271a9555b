// OpenSSL's errors come back to the stack they belong to, and are nobody else's meanwhile.
#include "plugin/blocking/openssl_errors.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <limits.h>
#include <link.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "tests/unit/descriptors.h"

namespace unit {
namespace {

// Where libcrypto is; asked in a child, for it can never be unloaded.
std::string path_of_libcrypto() {
  const Pair ends = make_pipe();
  const pid_t child = fork();
  if (child == 0) {
    const link_map* where = nullptr;
    void* const handle = dlopen("libcrypto.so.3", RTLD_LAZY);
    if (handle != nullptr && dlinfo(handle, RTLD_DI_LINKMAP, &where) == 0) {
      (void)!write(ends.b.get(), where->l_name, strlen(where->l_name));
    }
    _exit(0);
  }
  waitpid(child, nullptr, 0);
  char path[PATH_MAX] = "";
  const ssize_t size = read(fcntl(ends.a.get(), F_SETFL, O_NONBLOCK) == 0 ? ends.a.get() : -1, path, sizeof path);
  return std::string(path, size > 0 ? static_cast<std::size_t>(size) : 0);
}

// libcrypto under another name: the tests of what is redirected expect no such library.
const std::string& library() {
  static const std::string path = [] {
    const std::string real_path = path_of_libcrypto();
    char folder[] = "/tmp/openssl_errors_testXXXXXX";
    if (real_path.empty() || mkdtemp(folder) == nullptr) return std::string();
    const std::string link = std::string(folder) + "/other.so";
    EXPECT_EQ(0, symlink(real_path.c_str(), link.c_str()));
    return link;
  }();
  return path;
}

void* handle_of_library() {
  static void* const handle = library().empty() ? nullptr : dlopen(library().c_str(), RTLD_NOW);
  return handle;
}

template <typename Function>
Function* find(const char* name) {
  return reinterpret_cast<Function*>(dlsym(handle_of_library(), name));
}

class OpensslErrorsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (handle_of_library() == nullptr) GTEST_SKIP() << "no OpenSSL 3 here";
    find<void()>("ERR_clear_error")();
    blocking::OpensslErrors::learn_library(library());
  }

  static void TearDownTestSuite() {
    if (library().empty()) return;
    unlink(library().c_str());
    rmdir(library().substr(0, library().rfind('/')).c_str());
  }

  static void fail(int library, int reason, const char* text, int line) {
    find<void()>("ERR_new")();
    find<void(const char*, int, const char*)>("ERR_set_debug")("file.c", line, "function");
    const auto set_error = find<void(int, int, const char*, ...)>("ERR_set_error");
    text == nullptr ? set_error(library, reason, nullptr) : set_error(library, reason, "%s", text);
  }
  static unsigned long next_error(const char** text = nullptr, int* line = nullptr) {
    const char *file = nullptr, *function = nullptr, *data = nullptr;
    int at = 0, flags = 0;
    const unsigned long code = find<unsigned long(const char**, int*, const char**, const char**, int*)>(
        "ERR_get_error_all")(&file, &at, &function, &data, &flags);
    if (text != nullptr) *text = data;
    if (line != nullptr) *line = at;
    return code;
  }
  static unsigned long peek() { return find<unsigned long()>("ERR_peek_error")(); }
};

TEST_F(OpensslErrorsTest, ComeBackAsTheyWere) {
  fail(20, 134, "certificate verify failed: self-signed", 17);
  fail(2, ECONNRESET, nullptr, 18);
  const unsigned long first = peek();
  blocking::OpensslErrors mine;
  mine.take();
  EXPECT_EQ(0u, peek());
  mine.give_back();
  const char* text = nullptr;
  int line = 0;
  EXPECT_EQ(first, next_error(&text, &line));
  EXPECT_STREQ("certificate verify failed: self-signed", text);
  EXPECT_EQ(17, line);
  EXPECT_EQ(0x80000000UL | ECONNRESET, next_error(&text, &line));
  EXPECT_EQ(18, line);
  EXPECT_EQ(0u, next_error());
}

TEST_F(OpensslErrorsTest, OfTwoStacksStayApart) {
  blocking::OpensslErrors mine, others;
  fail(20, 1, nullptr, 1);
  mine.take();
  fail(20, 2, nullptr, 2);
  others.take();
  mine.give_back();
  int line = 0;
  next_error(nullptr, &line);
  EXPECT_EQ(1, line);
  EXPECT_EQ(0u, peek());
  others.give_back();
  next_error(nullptr, &line);
  EXPECT_EQ(2, line);
}

TEST_F(OpensslErrorsTest, AreGivenBackOnce) {
  blocking::OpensslErrors mine;
  fail(20, 1, nullptr, 1);
  mine.take();
  mine.give_back();
  next_error();
  mine.give_back();
  EXPECT_EQ(0u, peek());
}

}  // namespace
}  // namespace unit
