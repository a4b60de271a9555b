// A fiber that is interrupted has the call it waits in fail with ECANCELED, and each later one.
#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

class InterruptTest : public FibersTest {
 protected:
  // Starts `body`, which waits, and interrupts it.
  void interrupt(std::function<void()> body) {
    spawn([this, body] {
      fiber_ = suspend::Fiber::current();
      body();
      fiber_->interrupt().end();
    });
    ASSERT_EQ(1u, running());
    fiber_->interrupt().begin(*fiber_);
  }

  template <typename Call>
  static void expect_cancelled(Call call) {
    EXPECT_EQ(fails_with(ECANCELED), outcome_of(call));
  }

  suspend::Fiber* fiber_ = nullptr;
  suspend::Baton* baton_ = nullptr;
  Pair sockets_ = socket_pair();
  char byte_ = 0;
};

TEST_F(InterruptTest, EndsAReadAtOnceAndEachLaterOne) {
  interrupt([this] {
    expect_cancelled([this] { return calls().recv(sockets_.a.get(), &byte_, 1, 0); });
    expect_cancelled([this] { return calls().read(sockets_.a.get(), &byte_, 1); });
  });
  EXPECT_EQ(0u, running());
}

TEST_F(InterruptTest, LeavesACallThatNeedNotWait) {
  interrupt([this] {
    expect_cancelled([this] { return calls().recv(sockets_.a.get(), &byte_, 1, 0); });
    EXPECT_EQ(gives(1), outcome_of([this] { return calls().send(sockets_.b.get(), "x", 1, 0); }));
    EXPECT_EQ(gives(1), outcome_of([this] { return calls().recv(sockets_.a.get(), &byte_, 1, 0); }));
  });
  EXPECT_EQ(0u, running());
}

TEST_F(InterruptTest, EndsPollSelectAndEpoll) {
  const Fd epoll(epoll_create1(0));
  interrupt([&] {
    pollfd descriptors[2] = {{sockets_.a.get(), POLLIN, 0}, {sockets_.b.get(), POLLIN, 0}};
    expect_cancelled([&] { return calls().poll(descriptors, 2, -1); });
    fd_set read;
    FD_ZERO(&read);
    FD_SET(sockets_.a.get(), &read);
    expect_cancelled([&] { return calls().select(sockets_.a.get() + 1, &read, nullptr, nullptr, nullptr); });
    EXPECT_TRUE(FD_ISSET(sockets_.a.get(), &read));  // As select(2) leaves the sets of a call that fails.
    epoll_event event;
    expect_cancelled([&] { return calls().epoll_wait(epoll.get(), &event, 1, -1); });
  });
  EXPECT_EQ(0u, running());
}

TEST_F(InterruptTest, EndsSleeps) {
  interrupt([] {
    const timespec minute{60, 0};
    expect_cancelled([&] { return calls().nanosleep(&minute, nullptr); });
    EXPECT_EQ(ECANCELED, calls().clock_nanosleep(CLOCK_MONOTONIC, 0, &minute, nullptr));
    expect_cancelled([] { return calls().usleep(60000000); });
    EXPECT_EQ(60u, calls().sleep(60));
  });
  EXPECT_EQ(0u, running());
}

TEST_F(InterruptTest, SaysEintrForALockAndTellsTheGate) {
  sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  interrupt([&] {
    EXPECT_EQ(fails_with(EINTR), outcome_of([&] { return calls().sem_wait(&semaphore); }));
    EXPECT_EQ(1, gate_.lock_waits_interrupted);
  });
  EXPECT_EQ(0u, running());
  sem_destroy(&semaphore);
}

// Who cleans up takes locks that are held for a moment.
TEST_F(InterruptTest, ALockIsStillWaitedForAMomentOnceItHasBeenTold) {
  sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  interrupt([&] {
    expect_cancelled([this] { return calls().recv(sockets_.a.get(), &byte_, 1, 0); });
    EXPECT_EQ(gives(0), outcome_of([&] { return calls().sem_wait(&semaphore); }));
    EXPECT_EQ(fails_with(EINTR), outcome_of([&] { return calls().sem_wait(&semaphore); }));
  });
  ASSERT_EQ(1u, running());
  calls().sem_post(&semaphore);
  run();
  EXPECT_EQ(1, gate_.lock_waits_interrupted);
  sem_destroy(&semaphore);
}

TEST_F(InterruptTest, WhatALockWasPostedMeanwhileGoesToTheNext) {
  sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  spawn([&] {
    fiber_ = suspend::Fiber::current();
    EXPECT_EQ(fails_with(EINTR), outcome_of([&] { return calls().sem_wait(&semaphore); }));
    fiber_->interrupt().end();
  });
  spawn([&] { EXPECT_EQ(gives(0), outcome_of([&] { return calls().sem_wait(&semaphore); })); });
  fiber_->interrupt().begin(*fiber_);
  calls().sem_post(&semaphore);
  run();
  sem_destroy(&semaphore);
}

TEST_F(InterruptTest, AShieldKeepsItOffUntilItEnds) {
  spawn([this] {
    fiber_ = suspend::Fiber::current();
    fiber_->interrupt().shield();
    fiber_->interrupt().shield();
    EXPECT_EQ(gives(0), outcome_of([] { return calls().usleep(1000); }));
    fiber_->interrupt().unshield();
    EXPECT_EQ(gives(0), outcome_of([] { return calls().usleep(1000); }));
    fiber_->interrupt().unshield();
    expect_cancelled([] { return calls().usleep(1000); });
    fiber_->interrupt().end();
  });
  fiber_->interrupt().begin(*fiber_);
  EXPECT_EQ(1u, running());
  run();
}

TEST_F(InterruptTest, ItsEndIsAsIfNothingHadBeen) {
  interrupt([this] {
    expect_cancelled([] { return calls().usleep(60000000); });
    fiber_->interrupt().end();
    EXPECT_FALSE(fiber_->interrupt().met());
    EXPECT_EQ(gives(0), outcome_of([] { return calls().usleep(1000); }));
  });
  run();
}

TEST_F(InterruptTest, AWaitThatCannotBeEndedGoesOn) {
  spawn([this] {
    fiber_ = suspend::Fiber::current();
    suspend::Baton baton(*fiber_, "something", suspend::Abort::kNever);
    baton_ = &baton;
    EXPECT_EQ(suspend::Woken::kPosted, baton.wait());
    EXPECT_FALSE(fiber_->interrupt().met());
    fiber_->interrupt().end();
  });
  EXPECT_STREQ("something", fiber_->waiting()->what());
  fiber_->interrupt().begin(*fiber_);
  EXPECT_EQ(1u, running());
  baton_->post();
  EXPECT_EQ(0u, running());
}

TEST_F(InterruptTest, AWaitSaysWhatItIsFor) {
  const int fd = sockets_.a.get();
  spawn([&] {
    fiber_ = suspend::Fiber::current();
    EXPECT_EQ(nullptr, fiber_->waiting());
    calls().recv(fd, &byte_, 1, 0);
    EXPECT_EQ(nullptr, fiber_->waiting());
  });
  EXPECT_STREQ("read", fiber_->waiting()->what());
  EXPECT_EQ(fd, fiber_->waiting()->fd());
  calls().send(sockets_.b.get(), "x", 1, 0);
  run();
}

}  // namespace
}  // namespace unit
