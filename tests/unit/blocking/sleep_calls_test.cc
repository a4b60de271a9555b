// nanosleep, clock_nanosleep, usleep and sleep keep their manual pages on a fiber.
#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

timespec now_of(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return now;
}

timespec later(timespec when, long nanoseconds) {
  when.tv_nsec += nanoseconds;
  when.tv_sec += when.tv_nsec / 1000000000;
  when.tv_nsec %= 1000000000;
  return when;
}

bool is_before(const timespec& a, const timespec& b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

class SleepTest : public BothWorldsTest {};
INSTANTIATE_IN_BOTH_WORLDS(SleepTest);

TEST_P(SleepTest, LastsAsLongAsAsked) {
  const timespec some{0, 5300000};
  const auto lasts = [](const std::function<int()>& sleep, double seconds) {
    const Stopwatch watch;
    EXPECT_EQ(gives(0), outcome_of(sleep));
    EXPECT_GE(watch.seconds(), seconds);
    EXPECT_LT(watch.seconds(), seconds + 2);
  };
  spawn([&] {
    lasts([&] { return calls().nanosleep(&some, nullptr); }, 0.0053);
    lasts([&] { return calls().clock_nanosleep(CLOCK_MONOTONIC, 0, &some, nullptr); }, 0.0053);
    lasts([&] { return calls().clock_nanosleep(CLOCK_REALTIME, 0, &some, nullptr); }, 0.0053);
    lasts([&] { return calls().clock_nanosleep(CLOCK_BOOTTIME, 0, &some, nullptr); }, 0.0053);
    lasts([&] { return calls().usleep(5300); }, 0.0053);
    lasts([&] { return calls().usleep(200); }, 0.0002);
    lasts([&] { return static_cast<int>(calls().sleep(0)); }, 0);
    lasts([&] { return static_cast<int>(calls().sleep(1)); }, 1);
  });
  run();
}

TEST_P(SleepTest, IsShortWhereAskedForLittle) {
  spawn([&] {
    const Stopwatch watch;
    const timespec little{0, 1000};
    for (int i = 0; i < 20; ++i) EXPECT_EQ(0, calls().nanosleep(&little, nullptr));
    EXPECT_LT(watch.seconds(), 1);
  });
  run();
}

TEST_P(SleepTest, UntilAPointInTimeEndsAfterIt) {
  spawn([&] {
    for (const clockid_t clock : {CLOCK_MONOTONIC, CLOCK_REALTIME}) {
      for (const long ahead_ns : {0L, 150L, 900000L, 12345678L}) {
        const timespec until = later(now_of(clock), ahead_ns);
        EXPECT_EQ(0, calls().clock_nanosleep(clock, TIMER_ABSTIME, &until, nullptr));
        EXPECT_FALSE(is_before(now_of(clock), until));
      }
    }
  });
  run();
}

TEST_P(SleepTest, UntilThePastReturnsAtOnce) {
  spawn([&] {
    const timespec past{1, 0};
    const Stopwatch watch;
    EXPECT_EQ(gives(0), outcome_of([&] {
                return calls().clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &past, nullptr);
              }));
    EXPECT_LT(watch.seconds(), 1);
  });
  run();
}

TEST_P(SleepTest, RefusesWhatIsInvalid) {
  spawn([&] {
    for (const timespec invalid : {timespec{-1, 0}, timespec{0, -1}, timespec{0, 1000000000}}) {
      EXPECT_EQ(fails_with(EINVAL), outcome_of([&] { return calls().nanosleep(&invalid, nullptr); }));
      // An error number, not errno.
      EXPECT_EQ(EINVAL, calls().clock_nanosleep(CLOCK_MONOTONIC, 0, &invalid, nullptr));
    }
    const timespec some{0, 1};
    EXPECT_EQ(EINVAL, calls().clock_nanosleep(12345, 0, &some, nullptr));
    EXPECT_EQ(EINVAL, calls().clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &some, nullptr));
  });
  run();
}

class SleepOnFibersTest : public FibersTest {};

TEST_F(SleepOnFibersTest, LetsOthersSleepAtTheSameTime) {
  const Stopwatch watch;
  for (int i = 0; i < 100; ++i) spawn([] { EXPECT_EQ(0, calls().usleep(100000)); });
  run();
  EXPECT_LT(watch.seconds(), 100 * 0.1 / 5);
  EXPECT_EQ(100u, suspensions());
}

TEST_F(SleepOnFibersTest, EndsInTheOrderOfTheDeadlines) {
  const timespec begun = now_of(CLOCK_MONOTONIC);
  std::vector<int> order;
  for (const int ms : {40, 10, 30, 20}) {
    // Late enough for all to sleep by then, on a busy machine, too.
    const timespec deadline = later(begun, (1000 + ms) * 1000000L);
    spawn([&order, deadline, ms] {
      EXPECT_EQ(0, calls().clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, nullptr));
      order.push_back(ms);
    });
  }
  run();
  EXPECT_EQ((std::vector<int>{10, 20, 30, 40}), order);
}

}  // namespace
}  // namespace unit
