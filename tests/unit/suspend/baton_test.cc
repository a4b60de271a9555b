#include "suspend/baton.h"

#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "tests/unit/suspend/bare_observer.h"

namespace suspend {
namespace {

// The loop, without a loop: what is to be done is done by turn().
class TestResumer final : public Resumer {
 public:
  TestResumer() { install(this); }
  ~TestResumer() { install(nullptr); }

  void turn() {
    for (std::size_t left = next_.size(); left > 0; --left) {
      Baton& baton = *next_.front();
      next_.pop_front();
      deliver(baton);
    }
    if (rung_.exchange(false)) deliver_posted();
  }
  void turn_until_rung() {
    while (!rung_) std::this_thread::yield();
    turn();
  }
  bool has_anything() const { return rung_ || !next_.empty(); }

 private:
  void next_turn(Baton& baton) noexcept override { next_.push_back(&baton); }
  void ring() noexcept override { rung_ = true; }

  std::deque<Baton*> next_;
  std::atomic<bool> rung_{false};
};

// A fiber that runs functions.
class Waiter {
 public:
  ~Waiter() { EXPECT_TRUE(fiber_.idle()); }

  void start(std::function<void()> work) {
    work_ = std::move(work);
    fiber_.start([](void* self) noexcept { static_cast<Waiter*>(self)->work_(); }, this);
  }
  // Starts a fiber that waits.
  void start_wait(Abort abort = Abort::kAllowed) {
    start([=] {
      Baton baton(fiber_, "something", abort, 7);
      baton_ = &baton;
      woken_ = baton.wait();
    });
  }
  void interrupt() { observer_.interrupt().begin(fiber_); }

  Fiber& fiber() { return fiber_; }
  Baton& baton() { return *baton_; }
  Interrupt& interrupted() { return observer_.interrupt_of_task; }
  Woken woken() const { return woken_; }

 private:
  BareObserver observer_;
  std::function<void()> work_;
  Baton* baton_ = nullptr;
  Woken woken_ = Woken::kNotYet;
  Fiber fiber_{64 * 1024, observer_};
};

class BatonTest : public ::testing::Test {
 protected:
  TestResumer loop_;
  Waiter waiter_;
};

TEST_F(BatonTest, APostResumesTheFiberHereAndNow) {
  waiter_.start_wait();
  EXPECT_EQ(Woken::kNotYet, waiter_.woken());
  EXPECT_STREQ("something", waiter_.fiber().waiting()->what());
  EXPECT_EQ(7, waiter_.fiber().waiting()->fd());
  EXPECT_TRUE(waiter_.baton().post());
  EXPECT_EQ(Woken::kPosted, waiter_.woken());
  EXPECT_EQ(nullptr, waiter_.fiber().waiting());
}

TEST_F(BatonTest, APostBeforeTheWaitMakesItReturnAtOnce) {
  waiter_.start([this] {
    Baton baton(waiter_.fiber(), "something", Abort::kAllowed);
    EXPECT_TRUE(baton.post(Woken::kClosed));
    EXPECT_EQ(Woken::kClosed, baton.wait());
    EXPECT_EQ(Woken::kClosed, baton.wait());
  });
  EXPECT_FALSE(loop_.has_anything());
}

// What the fiber waits for first is not what has come.
TEST_F(BatonTest, APostDuringAnotherWaitIsKept) {
  Baton *outer = nullptr, *inner = nullptr;
  waiter_.start([&] {
    Baton first(waiter_.fiber(), "outer", Abort::kAllowed);
    Baton second(waiter_.fiber(), "inner", Abort::kAllowed);
    outer = &first;
    inner = &second;
    EXPECT_EQ(Woken::kTimedOut, second.wait());
    EXPECT_EQ(Woken::kPosted, first.wait());
  });
  EXPECT_TRUE(outer->post());
  EXPECT_STREQ("inner", waiter_.fiber().waiting()->what());
  EXPECT_TRUE(inner->post(Woken::kTimedOut));
}

TEST_F(BatonTest, TheFirstPostWins) {
  waiter_.start_wait();
  EXPECT_TRUE(waiter_.baton().post_next_turn(Woken::kClosed));
  EXPECT_FALSE(waiter_.baton().post_next_turn());
  EXPECT_FALSE(waiter_.baton().post(Woken::kTimedOut));
  EXPECT_FALSE(waiter_.baton().post_soon());
  waiter_.interrupt();
  EXPECT_EQ(Woken::kNotYet, waiter_.woken());
  loop_.turn();
  EXPECT_EQ(Woken::kClosed, waiter_.woken());
  EXPECT_FALSE(loop_.has_anything());
}

TEST_F(BatonTest, APostForTheNextTurnLetsOthersRunAlsoWhereTheWaitHadNotBegun) {
  waiter_.start([this] {
    Baton baton(waiter_.fiber(), "something", Abort::kAllowed);
    baton.post_next_turn();
    EXPECT_EQ(Woken::kPosted, baton.wait());
  });
  EXPECT_FALSE(waiter_.fiber().idle());
  loop_.turn();
}

TEST_F(BatonTest, AFiberThatPostsGoesOnAndTheOtherFollows) {
  waiter_.start_wait();
  Waiter other;
  other.start([this] {
    EXPECT_TRUE(waiter_.baton().post());
    EXPECT_EQ(Woken::kNotYet, waiter_.woken());
  });
  loop_.turn();
  EXPECT_EQ(Woken::kPosted, waiter_.woken());
}

TEST_F(BatonTest, AThreadPosts) {
  waiter_.start_wait();
  std::thread thread([this] { EXPECT_TRUE(waiter_.baton().post_soon()); });
  loop_.turn_until_rung();
  thread.join();
  EXPECT_EQ(Woken::kPosted, waiter_.woken());
}

TEST_F(BatonTest, ThreadsPostInTheOrderTheFibersAreResumedIn) {
  Waiter waiters[3];
  std::vector<int> order;
  for (int i = 0; i < 3; ++i) {
    waiters[i].start([&, i] {
      Baton baton(waiters[i].fiber(), "something", Abort::kAllowed);
      std::thread([&] { baton.post_soon(); }).join();
      baton.wait();
      order.push_back(i);
    });
  }
  EXPECT_TRUE(order.empty());
  loop_.turn();
  EXPECT_EQ((std::vector<int>{0, 1, 2}), order);
}

// Two posts from two sides: one of them counts. The baton outlives both here.
TEST_F(BatonTest, AThreadAndTheLoopMayPostAtOnce) {
  for (int i = 0; i < 200; ++i) {
    Baton baton(waiter_.fiber(), "something", Abort::kAllowed);
    Woken woken = Woken::kNotYet;
    waiter_.start([&] { woken = baton.wait(); });
    std::atomic<bool> go{false}, posted{false};
    std::thread thread([&] {
      while (!go) continue;
      posted = baton.post_soon();
    });
    go = true;
    const bool here = baton.post(Woken::kTimedOut);
    thread.join();
    loop_.turn();
    EXPECT_NE(here, posted.load());
    EXPECT_EQ(here ? Woken::kTimedOut : Woken::kPosted, woken);
  }
}

Baton* posted_by_handler = nullptr;

TEST_F(BatonTest, ASignalHandlerPosts) {
  waiter_.start_wait();
  posted_by_handler = &waiter_.baton();
  const auto before = std::signal(SIGUSR1, [](int) { posted_by_handler->post_soon(); });
  std::raise(SIGUSR1);
  EXPECT_EQ(Woken::kNotYet, waiter_.woken());
  loop_.turn();
  EXPECT_EQ(Woken::kPosted, waiter_.woken());
  std::signal(SIGUSR1, before);
}

// A source that posted before the wait is given up: the loop still has the baton.
TEST_F(BatonTest, ABatonThatIsOnItsWayStaysUntilItIsDelivered) {
  waiter_.start([this] {
    Baton baton(waiter_.fiber(), "something", Abort::kAllowed);
    std::thread([&] { baton.post_soon(); }).join();
  });
  EXPECT_FALSE(waiter_.fiber().idle());
  loop_.turn();
  EXPECT_TRUE(waiter_.fiber().idle());
}

TEST_F(BatonTest, AnInterruptEndsAWaitThatAllowsIt) {
  waiter_.start_wait();
  waiter_.interrupt();
  EXPECT_EQ(Woken::kInterrupted, waiter_.woken());
  EXPECT_TRUE(waiter_.interrupted().met());
}

TEST_F(BatonTest, AnInterruptLeavesAWaitThatForbidsIt) {
  waiter_.start_wait(Abort::kNever);
  waiter_.interrupt();
  EXPECT_EQ(Woken::kNotYet, waiter_.woken());
  waiter_.baton().post();
  EXPECT_EQ(Woken::kPosted, waiter_.woken());
  EXPECT_FALSE(waiter_.interrupted().met());
}

TEST_F(BatonTest, InterruptedBeforeAWaitDoesNotBegin) {
  waiter_.interrupt();
  waiter_.start_wait();
  EXPECT_EQ(Woken::kInterrupted, waiter_.woken());
}

TEST_F(BatonTest, WhatHasComeBeforeAnInterruptIsNotLost) {
  waiter_.interrupt();
  waiter_.start([this] {
    Baton baton(waiter_.fiber(), "something", Abort::kAllowed);
    baton.post();
    EXPECT_EQ(Woken::kPosted, baton.wait());
  });
}

TEST_F(BatonTest, AShieldKeepsAnInterruptOffUntilItEnds) {
  waiter_.interrupted().shield();
  waiter_.start_wait();
  waiter_.interrupt();
  EXPECT_EQ(Woken::kNotYet, waiter_.woken());
  waiter_.interrupted().unshield();
  waiter_.baton().post();
  waiter_.start_wait();
  EXPECT_EQ(Woken::kInterrupted, waiter_.woken());
}

}  // namespace
}  // namespace suspend
