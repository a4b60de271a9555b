// A call suspends only where the gate lets it; everywhere else it is libc's.
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
