// Many descriptors closed at once under fibers that wait for some, as close() does it.
#include <linux/close_range.h>
#include <sys/wait.h>

#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

char buffer[8];

// `high_` to `high_ + 4` are open, far above everything the test program has open; the second
// and the fourth are waited for.
class CloseManyTest : public FibersTest {
 protected:
  CloseManyTest() {
    for (int i = 0; i < 5; ++i) {
      const Pair pair = socket_pair();
      EXPECT_EQ(high_ + i, dup2(pair.a.get(), high_ + i));
      others_.emplace_back(dup(pair.b.get()));
    }
  }
  ~CloseManyTest() override {
    for (int i = 0; i < 5; ++i) close(high_ + i);
  }

  void wait_for_two() {
    for (const int fd : {high_ + 1, high_ + 3}) {
      spawn([this, fd] { outcomes_.push_back(outcome_of([fd] { return calls().recv(fd, buffer, 8, 0); })); });
    }
    look_at_the_loop();
    ASSERT_EQ(2u, running());
  }
  void expect_woken(std::size_t count) {
    run();
    EXPECT_EQ(std::vector<Outcome>(count, fails_with(EBADF)), outcomes_);
  }
  int open_ones() const {
    int count = 0;
    for (int i = 0; i < 5; ++i) count += is_open(high_ + i);
    return count;
  }

  const int high_ = 700;
  std::vector<Fd> others_;
  std::vector<Outcome> outcomes_;
};

TEST_F(CloseManyTest, ByAFiberWakesThoseThatWaited) {
  wait_for_two();
  spawn([&] { EXPECT_EQ(gives(0), outcome_of([&] { return calls().close_range(700, 704, 0); })); });
  expect_woken(2);
  EXPECT_EQ(0, open_ones());
}

TEST_F(CloseManyTest, FromANumberOnWakesThoseThatWaited) {
  wait_for_two();
  spawn([&] { calls().closefrom(700); });
  expect_woken(2);
  EXPECT_EQ(0, open_ones());
}

TEST_F(CloseManyTest, ByAThreadWakesThoseThatWaited) {
  wait_for_two();
  std::thread([&] {
    EXPECT_EQ(gives(0), outcome_of([&] { return calls().close_range(700, 704, 0); }));
    // The files are closed by now; the numbers that the loop watches are not free yet.
    for (const Fd& other : others_) EXPECT_EQ(0, recv(other.get(), buffer, 1, MSG_DONTWAIT));
    EXPECT_EQ(2, open_ones());
    // Once more, with nothing left to close: the loop's numbers stay its own.
    EXPECT_EQ(gives(0), outcome_of([&] { return calls().close_range(700, 704, 0); }));
    EXPECT_EQ(2, open_ones());
  }).join();
  expect_woken(2);
  EXPECT_EQ(0, open_ones());
}

TEST_F(CloseManyTest, LeavesWaitersOutsideTheRangeAlone) {
  wait_for_two();
  spawn([&] { EXPECT_EQ(0, calls().close_range(702, 704, 0)); });
  run_until_running(1);
  EXPECT_EQ(2, open_ones());
  ASSERT_EQ(1, write(others_[1].get(), "x", 1));
  run();
  EXPECT_EQ((std::vector<Outcome>{fails_with(EBADF), gives(1)}), outcomes_);
}

TEST_F(CloseManyTest, WhatClosesNothingWakesNobody) {
  wait_for_two();
  spawn([&] {
    EXPECT_EQ(fails_with(EINVAL), outcome_of([] { return calls().close_range(704, 700, 0); }));
    EXPECT_EQ(fails_with(EINVAL), outcome_of([] { return calls().close_range(700, 704, 1 << 20); }));
    EXPECT_EQ(gives(0), outcome_of([] { return calls().close_range(700, 704, CLOSE_RANGE_CLOEXEC); }));
  });
  look_at_the_loop();
  EXPECT_EQ(2u, running());
  spawn([&] { calls().closefrom(700); });
  expect_woken(2);
}

// A child of vfork() runs in this memory with descriptors of its own.
TEST_F(CloseManyTest, ByAChildOfVforkWakesNobody) {
  wait_for_two();
  spawn([&] {
    const pid_t child = vfork();
    if (child == 0) {
      calls().close(701);
      calls().dup2(STDERR_FILENO, 703);
      calls().close_range(700, 704, 0);
      _exit(0);
    }
    EXPECT_EQ(child, waitpid(child, nullptr, 0));
  });
  look_at_the_loop();
  EXPECT_EQ(2u, running());
  EXPECT_EQ(5, open_ones());
  spawn([&] { calls().closefrom(700); });
  expect_woken(2);
}

}  // namespace
}  // namespace unit
