// epoll_wait and epoll_pwait keep their manual pages on a fiber.
#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

class EpollTest : public BothWorldsTest {
 protected:
  void add(int epoll, int fd, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
  }
  Outcome wait(int epoll, int timeout_ms, int count = 8) {
    return outcome_of([&] { return calls().epoll_wait(epoll, events_, count, timeout_ms); });
  }
  epoll_event events_[8] = {};
  Fd epoll_{epoll_create1(0)};
  Pair ends_ = socket_pair();
};
INSTANTIATE_IN_BOTH_WORLDS(EpollTest);

TEST_P(EpollTest, WaitsForAnEvent) {
  add(epoll_.get(), ends_.a.get(), EPOLLIN);
  spawn([&] { EXPECT_EQ(gives(1), wait(epoll_.get(), -1)); });
  ASSERT_EQ(1, write(ends_.b.get(), "x", 1));
  run();
  EXPECT_EQ(ends_.a.get(), events_[0].data.fd);
}

TEST_P(EpollTest, WaitsForAnEventOfAnEpollInside) {
  Fd inner(epoll_create1(0));
  add(inner.get(), ends_.a.get(), EPOLLIN);
  add(epoll_.get(), inner.get(), EPOLLIN);
  spawn([&] { EXPECT_EQ(gives(1), wait(epoll_.get(), -1)); });
  ASSERT_EQ(1, write(ends_.b.get(), "x", 1));
  run();
  EXPECT_EQ(inner.get(), events_[0].data.fd);
}

TEST_P(EpollTest, TellsAnEdgeOnce) {
  add(epoll_.get(), ends_.a.get(), EPOLLIN | EPOLLET);
  spawn([&] {
    EXPECT_EQ(gives(1), wait(epoll_.get(), -1));
    EXPECT_EQ(gives(0), wait(epoll_.get(), 5));
  });
  ASSERT_EQ(1, write(ends_.b.get(), "x", 1));
  run();
}

TEST_P(EpollTest, SeesWhatIsAddedWhileItWaits) {
  spawn([&] { EXPECT_EQ(gives(1), wait(epoll_.get(), -1)); });
  ASSERT_EQ(1, write(ends_.b.get(), "x", 1));
  add(epoll_.get(), ends_.a.get(), EPOLLIN);
  run();
}

TEST_P(EpollTest, KeepsItsTimeout) {
  add(epoll_.get(), ends_.a.get(), EPOLLIN);
  spawn([&] {
    const Stopwatch watch;
    EXPECT_EQ(gives(0), wait(epoll_.get(), 20));
    EXPECT_GE(watch.seconds(), 0.0199);
    EXPECT_LT(watch.seconds(), 2);
    EXPECT_EQ(gives(0), wait(epoll_.get(), 0));
    EXPECT_EQ(gives(0),
              outcome_of([&] { return calls().epoll_pwait(epoll_.get(), events_, 8, 1, nullptr); }));
  });
  run();
}

TEST_P(EpollTest, RefusesWhatIsInvalid) {
  spawn([&] {
    EXPECT_EQ(fails_with(EINVAL), wait(epoll_.get(), -1, 0));
    EXPECT_EQ(fails_with(EINVAL), wait(ends_.a.get(), -1));
    EXPECT_EQ(fails_with(EBADF), wait(-1, -1));
  });
  run();
}

}  // namespace
}  // namespace unit
