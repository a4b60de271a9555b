// poll and ppoll keep their manual pages on a fiber.
#include <sys/mman.h>
#include <sys/resource.h>

#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

class PollTest : public BothWorldsTest {
 protected:
  Outcome poll(std::vector<pollfd>& descriptors, int timeout_ms) {
    return outcome_of([&] { return calls().poll(descriptors.data(), descriptors.size(), timeout_ms); });
  }
  Outcome ppoll(std::vector<pollfd>& descriptors, timespec timeout) {
    return outcome_of(
        [&] { return calls().ppoll(descriptors.data(), descriptors.size(), &timeout, nullptr); });
  }
  // Waits until `fd` has `events`, then looks what it said.
  void expect_woken(int fd, int events, int revents) {
    std::vector<pollfd> one{{fd, static_cast<short>(events), 0}};
    EXPECT_EQ(gives(1), poll(one, -1));
    EXPECT_EQ(revents, one[0].revents & ~POLLOUT);
  }
  Pair ends_ = tcp_pair();
};
INSTANTIATE_IN_BOTH_WORLDS(PollTest);

TEST_P(PollTest, ReturnsAtOnceWhatIsReady) {
  std::vector<pollfd> one{{ends_.a.get(), POLLIN | POLLOUT, 0}};
  spawn([&] { EXPECT_EQ(gives(1), poll(one, -1)); });
  run();
  EXPECT_EQ(POLLOUT, one[0].revents);
  EXPECT_EQ(0u, suspensions());
}

TEST_P(PollTest, WaitsForData) {
  spawn([&] { expect_woken(ends_.a.get(), POLLIN, POLLIN); });
  ASSERT_EQ(1, write(ends_.b.get(), "x", 1));
  run();
}

TEST_P(PollTest, WaitsForUrgentData) {
  spawn([&] { expect_woken(ends_.a.get(), POLLPRI, POLLPRI); });
  ASSERT_EQ(1, send(ends_.b.get(), "!", 1, MSG_OOB));
  run();
}

TEST_P(PollTest, WaitsForThePeerToStopWriting) {
  spawn([&] { expect_woken(ends_.a.get(), POLLRDHUP, POLLRDHUP); });
  shutdown(ends_.b.get(), SHUT_WR);
  run();
}

TEST_P(PollTest, AskedForNothingStillWaitsForAHangUp) {
  Pair pipe = make_pipe();
  spawn([&] { expect_woken(pipe.a.get(), 0, POLLHUP); });
  pipe.b.close();
  run();
}

TEST_P(PollTest, WaitsForOneOfManyDescriptors) {
  std::vector<Pair> pipes;
  std::vector<pollfd> all;
  for (int i = 0; i < 200; ++i) {
    pipes.push_back(make_pipe());
    all.push_back({pipes.back().a.get(), POLLIN, 0});
  }
  spawn([&] { EXPECT_EQ(gives(1), poll(all, -1)); });
  ASSERT_EQ(1, write(pipes[123].b.get(), "x", 1));
  run();
  EXPECT_EQ(POLLIN, all[123].revents);
  EXPECT_EQ(0, all[122].revents);
}

TEST_P(PollTest, SkipsNegativeDescriptors) {
  std::vector<pollfd> two{{-1, POLLIN, 77}, {ends_.a.get(), POLLIN, 0}};
  spawn([&] { EXPECT_EQ(gives(1), poll(two, -1)); });
  ASSERT_EQ(1, write(ends_.b.get(), "x", 1));
  run();
  EXPECT_EQ(0, two[0].revents);
  EXPECT_EQ(POLLIN, two[1].revents);
}

TEST_P(PollTest, OfNegativeDescriptorsOnlySleeps) {
  std::vector<pollfd> one{{-5, POLLIN, 0}};
  spawn([&] { EXPECT_EQ(gives(0), poll(one, 5)); });
  run();
}

TEST_P(PollTest, SaysWhichDescriptorIsNotOpen) {
  const int closed = dup(ends_.a.get());
  close(closed);
  std::vector<pollfd> two{{ends_.a.get(), POLLIN, 0}, {closed, POLLIN, 0}};
  spawn([&] { EXPECT_EQ(gives(1), poll(two, -1)); });
  run();
  EXPECT_EQ(0, two[0].revents);
  EXPECT_EQ(POLLNVAL, two[1].revents);
}

TEST_P(PollTest, TakesOneDescriptorTwice) {
  fill(ends_.a.get());
  std::vector<pollfd> twice{{ends_.a.get(), POLLOUT, 0}, {ends_.a.get(), POLLIN, 0}};
  spawn([&] { EXPECT_EQ(gives(1), poll(twice, -1)); });
  ASSERT_EQ(1, write(ends_.b.get(), "x", 1));
  run();
  EXPECT_EQ(0, twice[0].revents);
  EXPECT_EQ(POLLIN, twice[1].revents);
}

TEST_P(PollTest, TakesOneDescriptorTwiceForRareEvents) {
  std::vector<pollfd> twice{{ends_.a.get(), POLLPRI, 0}, {ends_.a.get(), POLLRDHUP, 0}};
  spawn([&] { EXPECT_EQ(gives(1), poll(twice, -1)); });
  shutdown(ends_.b.get(), SHUT_WR);
  run();
  EXPECT_EQ(POLLRDHUP, twice[1].revents);
}

TEST_P(PollTest, KeepsItsTimeout) {
  for (const int events : {POLLIN, POLLIN | POLLPRI}) {
    std::vector<pollfd> one{{ends_.a.get(), static_cast<short>(events), 0}};
    spawn([&, one]() mutable {
      const Stopwatch watch;
      EXPECT_EQ(gives(0), poll(one, 20));
      EXPECT_GE(watch.seconds(), 0.02);
      EXPECT_LT(watch.seconds(), 2);
      EXPECT_EQ(gives(0), poll(one, 0));
    });
    run();
  }
}

TEST_P(PollTest, KeepsATimeoutBelowAMillisecond) {
  std::vector<pollfd> one{{ends_.a.get(), POLLIN, 0}};
  spawn([&] {
    const Stopwatch watch;
    for (int i = 0; i < 10; ++i) EXPECT_EQ(gives(0), ppoll(one, {0, 300000}));
    EXPECT_GE(watch.seconds(), 0.003);
    EXPECT_LT(watch.seconds(), 2);
  });
  run();
}

TEST_P(PollTest, RefusesAnInvalidTimeout) {
  std::vector<pollfd> one{{ends_.a.get(), POLLIN, 0}};
  spawn([&] {
    EXPECT_EQ(fails_with(EINVAL), ppoll(one, {-1, 0}));
    EXPECT_EQ(fails_with(EINVAL), ppoll(one, {0, -1}));
    EXPECT_EQ(fails_with(EINVAL), ppoll(one, {0, 1000000000}));
  });
  run();
}

TEST_P(PollTest, RefusesMoreDescriptorsThanTheLimit) {
  rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur > 2000000) GTEST_SKIP() << "the limit is too high";
  std::vector<pollfd> many(limit.rlim_cur + 1, pollfd{-1, 0, 0});
  spawn([&] { EXPECT_EQ(fails_with(EINVAL), poll(many, 10)); });
  run();
}

TEST_P(PollTest, OfARegularFileNeverWaits) {
  Fd file(memfd_create("file", 0));
  spawn([&] {
    std::vector<pollfd> one{{file.get(), POLLIN | POLLOUT, 0}};
    EXPECT_EQ(gives(1), poll(one, -1));
  });
  run();
}

}  // namespace
}  // namespace unit
