// Calls on helper threads: those that wait for others never keep the others from theirs.
#include <netdb.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "plugin/blocking/groups.h"
#include "plugin/blocking/offload.h"
#include "plugin/blocking/tally.h"
#include "plugin/blocking/watched.h"
#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

template <typename Function>
Function* find(const std::vector<blocking::Call>& table, const std::string& name) {
  for (const blocking::Call& call : table) {
    if (name == call.name) return reinterpret_cast<Function*>(call.replacement);
  }
  std::abort();
}

const auto flock_call = find<int(int, int)>(blocking::file_calls(), "flock");
const auto fcntl_call = find<int(int, int, ...)>(blocking::file_calls(), "fcntl");
const auto fsync_call = find<int(int)>(blocking::file_calls(), "fsync");
const auto wait4_call = find<pid_t(pid_t, int*, int, rusage*)>(blocking::process_calls(), "wait4");
const auto waitid_call = find<int(idtype_t, id_t, siginfo_t*, int)>(blocking::process_calls(), "waitid");

class OffloadTest : public FibersTest {
 protected:
  // An open file of its own, so that locks are too.
  Fd open_file() { return Fd(open(("/proc/self/fd/" + std::to_string(fileno(file_))).c_str(), O_RDWR)); }
  ~OffloadTest() override { fclose(file_); }

 private:
  std::FILE* file_ = std::tmpfile();
};

// More requests wait for a lock than there are helpers for work; its holder writes to the
// disk before it unlocks.
TEST_F(OffloadTest, WaitersForAFileLockLeaveItsHolderAHelper) {
  constexpr int kWaiters = 150;
  const Fd held = open_file();
  ASSERT_EQ(0, flock(held.get(), LOCK_EX));
  std::vector<Fd> files;
  for (int i = 0; i < kWaiters; ++i) files.push_back(open_file());
  int locked = 0;
  for (const Fd& file : files) {
    spawn([&locked, fd = file.get()] {
      EXPECT_EQ(gives(0), outcome_of([fd] { return flock_call(fd, LOCK_EX); }));
      ++locked;
      EXPECT_EQ(0, flock_call(fd, LOCK_UN));
    });
  }
  EXPECT_EQ(static_cast<std::size_t>(kWaiters), running());
  spawn([&] {
    EXPECT_EQ(gives(0), outcome_of([&] { return fsync_call(held.get()); }));
    EXPECT_EQ(0, locked);
    EXPECT_EQ(0, flock_call(held.get(), LOCK_UN));
  });
  run();
  EXPECT_EQ(kWaiters, locked);
}

TEST_F(OffloadTest, WaitersForARecordLockLeaveItsHolderAHelper) {
  constexpr int kWaiters = 150;
  struct flock whole {};
  whole.l_type = F_WRLCK;
  const Fd held = open_file();
  ASSERT_EQ(0, fcntl(held.get(), F_OFD_SETLK, &whole));
  std::vector<Fd> files;
  for (int i = 0; i < kWaiters; ++i) files.push_back(open_file());
  for (Fd& file : files) {
    spawn([&file, whole]() mutable {
      EXPECT_EQ(gives(0), outcome_of([&] { return fcntl_call(file.get(), F_OFD_SETLKW, &whole); }));
      file.close();
    });
  }
  EXPECT_EQ(static_cast<std::size_t>(kWaiters), running());
  spawn([&] {
    EXPECT_EQ(0, fsync_call(held.get()));
    whole.l_type = F_UNLCK;
    EXPECT_EQ(0, fcntl_call(held.get(), F_OFD_SETLK, &whole));
  });
  run();
}

TEST_F(OffloadTest, ALockThatMustNotWaitDoesNot) {
  const Fd held = open_file();
  const Fd other = open_file();
  ASSERT_EQ(0, flock(held.get(), LOCK_EX));
  spawn([&] {
    EXPECT_EQ(fails_with(EWOULDBLOCK),
              outcome_of([&] { return flock_call(other.get(), LOCK_EX | LOCK_NB); }));
  });
  run();
  EXPECT_EQ(0u, suspensions());
}

// No thread can be had: it is looked at again and again, and the others run on.
TEST_F(OffloadTest, AWaitWithoutAHelperLooksAgain) {
  static blocking::Tally tally("test");
  int looks = 0;
  spawn([&] {
    suspend::Fiber& self = *suspend::Fiber::current();
    const auto look = [&]() -> std::optional<int> {
      return ++looks < 3 ? std::nullopt : std::make_optional(looks);
    };
    const int answer = blocking::wait_looking(self, tally, look);
    EXPECT_EQ(3, answer);
  });
  EXPECT_EQ(1u, running());
  run();
}

TEST_F(OffloadTest, ErrorNumbersAreTheCallsOwn) {
  static blocking::Tally tally("test");
  spawn([&] {
    suspend::Fiber& self = *suspend::Fiber::current();
    errno = ENOENT;
    h_errno = NO_DATA;
    EXPECT_EQ(1, blocking::offload_work(self, tally, [] { return 1; }));
    EXPECT_EQ(ENOENT, errno);
    EXPECT_EQ(NO_DATA, h_errno);
    blocking::offload_work(self, tally, [] {
      errno = EIO;
      h_errno = TRY_AGAIN;
      return -1;
    });
    EXPECT_EQ(EIO, errno);
    EXPECT_EQ(TRY_AGAIN, h_errno);
  });
  run();
}

TEST_F(OffloadTest, AnotherFibersErrorNumbersStayItsOwn) {
  spawn([&] {
    errno = EIO;
    h_errno = TRY_AGAIN;
    blocking::sleep_until(*suspend::Fiber::current(), blocking::Deadline::after(0.01));
    EXPECT_EQ(EIO, errno);
    EXPECT_EQ(TRY_AGAIN, h_errno);
  });
  spawn([] {
    errno = EPERM;
    h_errno = NO_RECOVERY;
  });
  run();
}

TEST_F(OffloadTest, ANameThatIsNotSaysWhyByHostErrno) {
  const auto by_name = find<hostent*(const char*)>(blocking::name_calls(), "gethostbyname");
  h_errno = 0;
  EXPECT_EQ(nullptr, gethostbyname("no such name"));
  const int expected = h_errno;
  EXPECT_NE(0, expected);
  spawn([&] {
    h_errno = 0;
    EXPECT_EQ(nullptr, by_name("no such name"));
    EXPECT_EQ(expected, h_errno);
  });
  EXPECT_EQ(1u, running());
  run();
}

class ChildTest : public OffloadTest {
 protected:
  // A child that ends when it is told.
  ChildTest() {
    child_ = fork();
    if (child_ == 0) {
      char byte;
      tell_.b.close();
      _exit(read(tell_.a.get(), &byte, 1) == 0 ? 7 : 1);
    }
  }
  void tell() { tell_.b.close(); }

  Pair tell_ = make_pipe();
  pid_t child_ = -1;
};

TEST_F(ChildTest, WaitsForAnyChild) {
  spawn([&] {
    int status = 0;
    EXPECT_EQ(child_, wait4_call(-1, &status, 0, nullptr));
    EXPECT_EQ(7, WEXITSTATUS(status));
  });
  EXPECT_EQ(1u, running());
  tell();
  run();
}

TEST_F(ChildTest, WaitsByIdAndTellsAbout) {
  spawn([&] {
    siginfo_t info{};
    EXPECT_EQ(gives(0),
              outcome_of([&] { return waitid_call(P_PID, static_cast<id_t>(child_), &info, WEXITED); }));
    EXPECT_EQ(child_, info.si_pid);
    EXPECT_EQ(7, info.si_status);
    EXPECT_EQ(fails_with(ECHILD),
              outcome_of([&] { return waitid_call(P_PID, static_cast<id_t>(child_), &info, WEXITED); }));
  });
  EXPECT_EQ(1u, running());
  tell();
  run();
}

// Somebody closes every descriptor there is, and the numbers mean other files at once.
TEST_F(ChildTest, WaitsOnWhenItsDescriptorIsClosed) {
  const int lowest = dup(STDERR_FILENO);
  close(lowest);  // The number the wait will get.
  spawn([&] {
    int status = 0;
    EXPECT_EQ(child_, wait4_call(child_, &status, 0, nullptr));
    EXPECT_EQ(7, WEXITSTATUS(status));
  });
  EXPECT_EQ(1u, running());
  ASSERT_TRUE(is_open(lowest));
  Fd other;
  spawn([&] {
    EXPECT_EQ(lowest, calls().dup2(STDERR_FILENO, lowest));
    other = Fd(lowest);
  });
  look_at_the_loop();
  EXPECT_EQ(1u, running());
  tell();
  run();
  EXPECT_TRUE(is_open(lowest));
}

}  // namespace
}  // namespace unit
