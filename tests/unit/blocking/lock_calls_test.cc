// sem_wait, sem_timedwait, sem_clockwait and sem_post keep their manual pages on a fiber,
// and no wake-up is lost between fibers and real threads.
#include <limits.h>

#include <array>
#include <atomic>

#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

class Semaphore {
 public:
  explicit Semaphore(unsigned int value = 0) { sem_init(&semaphore_, 0, value); }
  ~Semaphore() { sem_destroy(&semaphore_); }
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;
  sem_t* get() { return &semaphore_; }

  Outcome wait() {
    return outcome_of([this] { return calls().sem_wait(get()); });
  }
  Outcome wait_until(clockid_t clock, timespec until) {
    return outcome_of([&] { return calls().sem_clockwait(get(), clock, &until); });
  }
  Outcome timed_wait(timespec until) {
    return outcome_of([&] { return calls().sem_timedwait(get(), &until); });
  }
  void post() {
    EXPECT_EQ(gives(0), outcome_of([this] { return calls().sem_post(get()); }));
  }

 private:
  sem_t semaphore_;
};

timespec in(clockid_t clock, double seconds) {
  timespec now;
  clock_gettime(clock, &now);
  const auto ns = static_cast<long>(seconds * 1e9) + now.tv_nsec + now.tv_sec * 1000000000;
  return {ns / 1000000000, ns % 1000000000};
}

class LockTest : public BothWorldsTest {
 protected:
  Semaphore semaphore_;
};
INSTANTIATE_IN_BOTH_WORLDS(LockTest);

TEST_P(LockTest, WaitTakesWhatIsFree) {
  semaphore_.post();
  spawn([&] { EXPECT_EQ(gives(0), semaphore_.wait()); });
  run();
  EXPECT_EQ(0u, suspensions());
}

TEST_P(LockTest, WaitEndsWithAPost) {
  spawn([&] { EXPECT_EQ(gives(0), semaphore_.wait()); });
  if (on_fibers()) {
    EXPECT_EQ(1u, running());
  }
  spawn([&] { semaphore_.post(); });
  run();
}

TEST_P(LockTest, WaitEndsWithAPostOfARealThread) {
  spawn([&] { EXPECT_EQ(gives(0), semaphore_.wait()); });
  std::thread thread([&] { semaphore_.post(); });
  run();
  thread.join();
}

TEST_P(LockTest, EachPostWakesOneWaiter) {
  std::atomic<int> woken{0};
  for (int i = 0; i < 10; ++i) {
    spawn([&] {
      EXPECT_EQ(gives(0), semaphore_.wait());
      ++woken;
    });
  }
  for (int i = 0; i < 10; ++i) semaphore_.post();
  run();
  EXPECT_EQ(10, woken);
  EXPECT_NE(0, sem_trywait(semaphore_.get()));
}

TEST_P(LockTest, TimedWaitKeepsItsDeadline) {
  spawn([&] {
    for (const double seconds : {0.02, 0.0004, 0.0, -1.0}) {
      const Stopwatch watch;
      EXPECT_EQ(fails_with(ETIMEDOUT), semaphore_.timed_wait(in(CLOCK_REALTIME, seconds)));
      EXPECT_EQ(fails_with(ETIMEDOUT), semaphore_.wait_until(CLOCK_MONOTONIC, in(CLOCK_MONOTONIC, seconds)));
      EXPECT_GE(watch.seconds(), 2 * seconds - 1e-5);
      EXPECT_LT(watch.seconds(), 2);
    }
  });
  run();
}

TEST_P(LockTest, TimedWaitEndsWithAPost) {
  spawn([&] { EXPECT_EQ(gives(0), semaphore_.timed_wait(in(CLOCK_REALTIME, 20))); });
  spawn([&] { semaphore_.post(); });
  run();
}

// A waiter that gave up leaves the post to those who still wait.
TEST_P(LockTest, APostAfterATimeoutGoesToTheNext) {
  spawn([&] { EXPECT_EQ(fails_with(ETIMEDOUT), semaphore_.timed_wait(in(CLOCK_REALTIME, 0.002))); });
  spawn([&] { EXPECT_EQ(gives(0), semaphore_.wait()); });
  spawn([&] {
    calls().usleep(20000);
    semaphore_.post();
  });
  run();
}

TEST_P(LockTest, RefusesWhatIsInvalid) {
  spawn([&] {
    for (const int value : {0, 1}) {
      if (value == 1) semaphore_.post();
      EXPECT_EQ(fails_with(EINVAL), semaphore_.timed_wait({0, 1000000000}));
      EXPECT_EQ(fails_with(EINVAL), semaphore_.timed_wait({0, -1}));
      EXPECT_EQ(fails_with(EINVAL), semaphore_.wait_until(CLOCK_BOOTTIME, in(CLOCK_BOOTTIME, 0.001)));
      EXPECT_EQ(fails_with(EINVAL), semaphore_.wait_until(CLOCK_MONOTONIC, {0, 1000000000}));
    }
    EXPECT_EQ(gives(0), semaphore_.wait());
  });
  run();
}

TEST_P(LockTest, PostSaysOverflow) {
  Semaphore full(SEM_VALUE_MAX);
  spawn([&] { EXPECT_EQ(fails_with(EOVERFLOW), outcome_of([&] { return calls().sem_post(full.get()); })); });
  run();
}

class LockStressTest : public FibersTest {};

// The loop's own stack waits for a lock that a suspended fiber holds.
TEST_F(LockStressTest, TheLoopItselfLetsFibersRunWhileItWaits) {
  gate_.turned = &the_loop();
  Semaphore lock(1);
  Pair ends = socket_pair();
  spawn([&] {
    lock.wait();
    char byte;
    EXPECT_EQ(1, calls().recv(ends.a.get(), &byte, 1, 0));
    lock.post();
  });
  EXPECT_EQ(fails_with(ETIMEDOUT), lock.timed_wait(in(CLOCK_REALTIME, 0.0001)));
  ASSERT_EQ(1, write(ends.b.get(), "x", 1));
  EXPECT_EQ(gives(0), lock.wait());
  run();
  EXPECT_EQ(0u, running());
}

TEST_F(LockStressTest, WaitersAreServedInTheirOrder) {
  Semaphore semaphore;
  std::vector<int> order;
  for (int i = 0; i < 5; ++i) {
    spawn([&, i] {
      semaphore.wait();
      order.push_back(i);
    });
  }
  for (int i = 0; i < 5; ++i) semaphore.post();
  run();
  EXPECT_EQ((std::vector<int>{0, 1, 2, 3, 4}), order);
}

// The first waiter's deadline and the post are due at about the same time; whoever of the
// two gets it, it is not lost.
TEST_F(LockStressTest, APostThatMeetsATimeoutIsNotLost) {
  for (int round = 0; round < 200; ++round) {
    Semaphore semaphore;
    bool first = false, second = false;
    spawn([&] { first = semaphore.timed_wait(in(CLOCK_REALTIME, 0.001)).result == 0; });
    spawn([&] { second = semaphore.timed_wait(in(CLOCK_REALTIME, 20)).result == 0; });
    std::thread poster([&] {
      const timespec meanwhile{0, 900000 + round * 2000};
      ::nanosleep(&meanwhile, nullptr);
      semaphore.post();
    });
    run_until_running(1);
    poster.join();
    if (first) semaphore.post();
    run();
    EXPECT_TRUE(second);
  }
}

// Two fibers that pass a lock to and fro go one step a turn.
TEST_F(LockStressTest, FibersThatPassALockDoNotStarveTheLoop) {
  Semaphore ping, pong;
  bool stop = false;
  int passes = 0;
  spawn([&] {
    while (!stop) {
      ping.wait();
      ++passes;
      pong.post();
    }
  });
  spawn([&] {
    while (!stop) {
      ping.post();
      pong.wait();
    }
    ping.post();
  });
  Pair ends = socket_pair();
  spawn([&] {
    char byte;
    EXPECT_EQ(1, calls().recv(ends.a.get(), &byte, 1, 0));
    stop = true;
  });
  for (int i = 0; i < 50; ++i) look_at_the_loop();
  const int before = passes;
  EXPECT_GT(before, 10);
  ASSERT_EQ(1, write(ends.b.get(), "x", 1));
  run();
  EXPECT_LT(passes - before, 20);
}

Semaphore* posted_by_handler = nullptr;

// sem_post() may be called in a signal handler, which comes at every moment of what the thread does itself.
TEST_F(LockStressTest, APostInASignalHandlerIsSeen) {
  constexpr int kPosts = 20000;
  Semaphore from_handler, ping, pong;
  posted_by_handler = &from_handler;
  struct sigaction action {};
  action.sa_handler = [](int) { calls().sem_post(posted_by_handler->get()); };
  struct sigaction before;
  sigaction(SIGUSR1, &action, &before);
  std::atomic<bool> stop{false};
  spawn([&] {
    for (int i = 0; i < kPosts; ++i) from_handler.wait();
    stop = true;
  });
  spawn([&] {
    while (!stop) {
      ping.post();
      pong.wait();
    }
    ping.post();
  });
  spawn([&] {
    while (!stop) {
      ping.wait();
      pong.post();
    }
  });
  std::thread sender([&, loop = pthread_self()] {
    while (!stop) pthread_kill(loop, SIGUSR1);
  });
  run();
  sender.join();
  sigaction(SIGUSR1, &before, nullptr);
}

int (*cond_timedwait)(pthread_cond_t*, pthread_mutex_t*, const timespec*) = nullptr;

// Each looks now and then whether it was woken unseen. Many look so rarely that it costs next to nothing.
TEST_F(LockStressTest, ManyIdleWaitersLookRarely) {
  for (const blocking::Replacement& one : blocking::replacements()) {
    if (std::string(one.name) == "pthread_cond_timedwait")
      cond_timedwait = reinterpret_cast<decltype(cond_timedwait)>(one.replacement);
  }
  constexpr int kWaiters = 300;
  constexpr double kWaitS = 3;
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t conditions[kWaiters];
  int looks = 0;
  const timespec until = in(CLOCK_REALTIME, kWaitS);
  for (pthread_cond_t& condition : conditions) {
    pthread_cond_init(&condition, nullptr);
    spawn([&] {
      pthread_mutex_lock(&mutex);
      while (cond_timedwait(&condition, &mutex, &until) == 0) ++looks;
      pthread_mutex_unlock(&mutex);
    });
  }
  run();
  EXPECT_LT(looks, 500 * kWaitS * 1.5);
  for (pthread_cond_t& condition : conditions) pthread_cond_destroy(&condition);
}

// A thread posts at every moment round that at which a fiber goes to wait: between its last
// look at the semaphore and its place in the queue nothing may fall through.
TEST_F(LockStressTest, NoWakeUpIsLostWhileAFiberGoesToWait) {
  constexpr int kRounds = 30000;
  Semaphore asked, answered;
  std::thread thread([&] {
    for (int round = 0; round < kRounds; ++round) {
      for (int tries = 1; sem_trywait(asked.get()) != 0; ++tries) {
        if (tries % 1000 == 0) std::this_thread::yield();
      }
      calls().sem_post(answered.get());
    }
  });
  spawn([&] {
    for (int round = 0; round < kRounds; ++round) {
      asked.post();
      for (volatile int delay = round % 512; delay > 0; delay = delay - 1) continue;
      EXPECT_EQ(0, calls().sem_wait(answered.get()));
    }
  });
  run();
  thread.join();
}

// Tokens go round a ring of semaphores through fibers and threads. A lost wake-up stops it.
class LockRingTest : public LockStressTest, public ::testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(With, LockRingTest, ::testing::Bool(),
                         [](const auto& test) { return std::string(test.param ? "Deadlines" : "Patience"); });

TEST_P(LockRingTest, NoWakeUpIsLostBetweenFibersAndThreads) {
  constexpr int kFibers = 200, kThreads = 8;
  const int wanted = GetParam() ? 20000 : 100000;
  std::array<Semaphore, 5> ring;
  std::atomic<int> passes{0};
  const auto take = [](Semaphore& from) {
    return GetParam() ? from.timed_wait(in(CLOCK_REALTIME, 0.002)) : from.wait();
  };
  const auto pass_on = [&](int who) {
    const auto place = static_cast<std::size_t>(who);
    while (passes.load() < wanted) {
      if (take(ring[place % ring.size()]).result != 0) continue;
      ++passes;
      ring[(place + 1) % ring.size()].post();
    }
    for (Semaphore& semaphore : ring) semaphore.post();  // Lets those go who still wait.
  };
  for (Semaphore& semaphore : ring) semaphore.post();
  for (int i = 0; i < kFibers; ++i) spawn([&, i] { pass_on(i); });
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back([&, i] { pass_on(i); });
  run();
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(passes.load(), wanted);
}

// A lock that protects: never more than one inside, wherever it runs.
TEST_F(LockStressTest, ALockHasOneHolderAtATime) {
  Semaphore lock(1);
  std::atomic<int> inside{0};
  int counted = 0;
  const auto work = [&](int rounds) {
    for (int i = 0; i < rounds; ++i) {
      lock.wait();
      EXPECT_EQ(1, ++inside);
      ++counted;
      --inside;
      lock.post();
      if (i % 50 == 0) calls().usleep(0);
    }
  };
  for (int i = 0; i < 100; ++i) spawn([&] { work(100); });
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { work(2500); });
  run();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(20000, counted);
}

}  // namespace
}  // namespace unit
