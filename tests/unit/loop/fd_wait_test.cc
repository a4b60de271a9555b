#include "plugin/loop/fd_wait.h"

#include "tests/unit/loop/test_loop.h"

namespace unit {
namespace {

class FdWait : public LoopTest {
 protected:
  loop::Callback over() {
    return {[](void* self) noexcept { ++static_cast<FdWait*>(self)->calls_; }, this};
  }
  void turn_until_over() {
    while (calls_ == 0) the_loop().turn();
  }
  int calls_ = 0;
  Pair pipe_ = make_pipe();
};

TEST_F(FdWait, EndsWhenTheDescriptorIsReady) {
  loop::FdWait wait(the_loop(), over());
  wait.start(pipe_.a.get(), EV_READ, 60);
  ASSERT_EQ(1, write(pipe_.b.get(), "x", 1));
  turn_until_over();
  EXPECT_FALSE(wait.timed_out());
  run_pending();
  EXPECT_EQ(1, calls_);
}

TEST_F(FdWait, EndsAtTheDeadline) {
  loop::FdWait wait(the_loop(), over());
  wait.start(pipe_.a.get(), EV_READ, 0.0015);
  turn_until_over();
  EXPECT_TRUE(wait.timed_out());
  ASSERT_EQ(1, write(pipe_.b.get(), "x", 1));
  run_pending();
  EXPECT_EQ(1, calls_);
}

TEST_F(FdWait, WithoutADeadlineWaitsForTheDescriptor) {
  const int before = loop::active_watchers;
  loop::FdWait wait(the_loop(), over());
  wait.start(pipe_.b.get(), EV_WRITE, -1);
  EXPECT_EQ(before + 1, loop::active_watchers);
  turn_until_over();
  EXPECT_FALSE(wait.timed_out());
}

TEST_F(FdWait, CanWaitForADeadlineAlone) {
  loop::FdWait wait(the_loop(), over());
  wait.start(0.001);
  turn_until_over();
  EXPECT_TRUE(wait.timed_out());
}

TEST_F(FdWait, IsSilentOnceDestroyed) {
  {
    loop::FdWait wait(the_loop(), over());
    wait.start(pipe_.b.get(), EV_WRITE, 0);
  }
  run_pending();
  EXPECT_EQ(0, calls_);
}

// Ready and due in the same turn: over once.
TEST_F(FdWait, EndsOnceAlthoughReadyAndDue) {
  loop::FdWait wait(the_loop(), over());
  wait.start(pipe_.b.get(), EV_WRITE, 0);
  turn_until_over();
  run_pending();
  EXPECT_EQ(1, calls_);
}

TEST_F(FdWait, MayBeDestroyedByItsOwnCallback) {
  std::optional<loop::FdWait> wait;
  wait.emplace(the_loop(), loop::Callback{[](void* self) noexcept {
                                            static_cast<std::optional<loop::FdWait>*>(self)->reset();
                                          },
                                          &wait});
  wait->start(pipe_.b.get(), EV_WRITE, 0);
  while (wait) the_loop().turn();
  run_pending();
}

}  // namespace
}  // namespace unit
