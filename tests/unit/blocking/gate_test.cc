// A call suspends only where the gate lets it; everywhere else it is libc's.
#include <fcntl.h>
#include <sys/stat.h>

#include <string>

#include "plugin/blocking/wait.h"
#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

class GateTest : public FibersTest {
 protected:
  // Would wait for ever on a fiber that may suspend.
  static Outcome short_poll() {
    return outcome_of([] { return calls().poll(nullptr, 0, 1); });
  }
};

TEST_F(GateTest, ClosedLeavesEveryCallToLibc) {
  gate_.open = false;
  spawn([] { EXPECT_EQ(gives(0), short_poll()); });
  EXPECT_EQ(0u, running());
}

// Only what could have suspended is told to the reader of a report: a slow disk keeps the loop either way.
TEST_F(GateTest, OpeningAFileCountsOnlyWhereItMayWait) {
  gate_.open = false;
  const std::string fifo = testing::TempDir() + "counted-" + std::to_string(getpid());
  ASSERT_EQ(0, mkfifo(fifo.c_str(), 0600));
  const auto times_counted = [this](const char* path) {
    gate_.times_asked_why_not = 0;
    spawn([path] { Fd(calls().open(path, O_RDONLY)).close(); });
    return gate_.times_asked_why_not;
  };
  Fd other_end(::open(fifo.c_str(), O_RDWR));
  EXPECT_EQ(1, times_counted(fifo.c_str()));
  EXPECT_EQ(0, times_counted("/proc/self/exe"));
  EXPECT_EQ(0, times_counted("/dev/null"));
  unlink(fifo.c_str());
}

TEST_F(GateTest, OutsideAFiberCallsAreLibcs) {
  EXPECT_EQ(nullptr, blocking::may_suspend());
  EXPECT_EQ(gives(0), short_poll());
  EXPECT_EQ(0, calls().usleep(10));
}

TEST_F(GateTest, OpenSuspendsTheFiber) {
  spawn([] { EXPECT_EQ(gives(0), short_poll()); });
  EXPECT_EQ(1u, running());
  run();
}

TEST_F(GateTest, KnowsTheLoopsThread) {
  EXPECT_TRUE(blocking::on_loop_thread());
  std::thread([] {
    EXPECT_FALSE(blocking::on_loop_thread());
    EXPECT_EQ(nullptr, blocking::may_suspend());
  }).join();
}

TEST_F(GateTest, AbsentNobodyMaySuspend) {
  blocking::open_gate(nullptr, nullptr);
  EXPECT_FALSE(blocking::on_loop_thread());
  spawn([] { EXPECT_EQ(nullptr, blocking::may_suspend()); });
  blocking::open_gate(&gate_, &the_loop());
  run();
}

TEST_F(GateTest, ParkedFibersKeepTheirErrno) {
  suspend::Baton* posted = nullptr;
  spawn([&] {
    suspend::Baton baton(*suspend::Fiber::current(), "something", blocking::Abort::kNever);
    posted = &baton;
    errno = ERANGE;
    blocking::wait(baton);
    EXPECT_EQ(ERANGE, errno);
  });
  errno = EDOM;
  posted->post();
  EXPECT_EQ(0u, running());
}

}  // namespace
}  // namespace unit
