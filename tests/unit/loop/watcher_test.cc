#include "plugin/loop/watcher.h"

#include <csignal>
#include <string>
#include <thread>

#include "plugin/loop/clock.h"
#include "tests/unit/loop/test_loop.h"

namespace unit {
namespace {

struct Reader {
  int seen = 0;
  int revents = 0;
  void on_ready(int events) noexcept {
    ++seen;
    revents = events;
  }
};
using ReaderWatcher = loop::IoWatcher<Reader, &Reader::on_ready>;

class IoWatcher : public LoopTest {
 protected:
  Pair pipe_ = make_pipe();
  Reader reader_;
};

TEST_F(IoWatcher, CallsEachTimeUntilStopped) {
  ReaderWatcher watcher(raw(), &reader_);
  watcher.start(pipe_.a.get(), EV_READ);
  run_pending();
  EXPECT_EQ(0, reader_.seen);
  ASSERT_EQ(1, write(pipe_.b.get(), "x", 1));
  run_pending();
  run_pending();
  EXPECT_EQ(2, reader_.seen);
  EXPECT_EQ(EV_READ, reader_.revents);
  watcher.stop();
  run_pending();
  EXPECT_EQ(2, reader_.seen);
}

struct Named {
  std::string* order;
  char name;
  void on_ready(int) noexcept { *order += name; }
  void on_due() noexcept { *order += name; }
};

// Due timers, what is ready, and what comes last, whichever was ready first.
class Order : public IoWatcher, public ::testing::WithParamInterface<bool> {};

TEST_P(Order, OneThatComesLastComesAfterAllThatIsDueAndReady) {
  const Pair others[] = {make_pipe(), make_pipe()};
  std::string order;
  Named a{&order, 'a'}, b{&order, 'b'}, last{&order, 'L'}, timer{&order, 't'};
  loop::IoWatcher<Named, &Named::on_ready> first(raw(), &a), second(raw(), &b), comes_last(raw(), &last);
  loop::TimerWatcher<Named, &Named::on_due> due(raw(), &timer);
  comes_last.come_last();
  if (GetParam()) comes_last.start(pipe_.a.get(), EV_READ);
  first.start(others[0].a.get(), EV_READ);
  second.start(others[1].a.get(), EV_READ);
  if (!GetParam()) comes_last.start(pipe_.a.get(), EV_READ);
  due.start(0);
  for (const Pair& pipe : others) ASSERT_EQ(1, write(pipe.b.get(), "x", 1));
  ASSERT_EQ(1, write(pipe_.b.get(), "x", 1));
  run_pending();
  ASSERT_EQ(4u, order.size());
  EXPECT_EQ('t', order.front());
  EXPECT_EQ('L', order.back());
}

INSTANTIATE_TEST_SUITE_P(Watchers, Order, ::testing::Bool());

TEST_F(IoWatcher, IsSilentOnceDestroyed) {
  {
    ReaderWatcher watcher(raw(), &reader_);
    watcher.start(pipe_.a.get(), EV_READ);
    ASSERT_EQ(1, write(pipe_.b.get(), "x", 1));
  }
  run_pending();
  EXPECT_EQ(0, reader_.seen);
}

TEST_F(IoWatcher, CallsForARegularFile) {
  Fd file(open("/proc/self/exe", O_RDONLY));
  ReaderWatcher watcher(raw(), &reader_);
  watcher.start(file.get(), EV_READ);
  run_pending();
  EXPECT_EQ(1, reader_.seen);
}

TEST_F(IoWatcher, CallsOnceForABadDescriptor) {
  const int before = loop::active_watchers;
  const int closed = dup(pipe_.a.get());
  close(closed);
  ReaderWatcher watcher(raw(), &reader_);
  watcher.start(closed, EV_READ);
  run_pending();
  run_pending();
  EXPECT_EQ(1, reader_.seen);
  EXPECT_TRUE(reader_.revents & EV_ERROR);
  EXPECT_FALSE(watcher.active());
  watcher.stop();
  EXPECT_EQ(before, loop::active_watchers);
}

// libev would end the process.
TEST_F(IoWatcher, CallsOnceForADescriptorThatIsClosedBeforeThePoll) {
  const int closed = dup(pipe_.a.get());
  ReaderWatcher watcher(raw(), &reader_);
  watcher.start(closed, EV_READ);
  close(closed);
  run_pending();
  run_pending();
  EXPECT_EQ(1, reader_.seen);
  EXPECT_TRUE(reader_.revents & EV_ERROR);
  EXPECT_FALSE(watcher.active());
}

TEST_F(IoWatcher, DoesNotWatchTheFileThatHasTheNumberByThePoll) {
  const Fd watched(dup(pipe_.a.get()));
  struct stat file;
  ASSERT_EQ(0, fstat(watched.get(), &file));
  ReaderWatcher watcher(raw(), &reader_);
  watcher.start(watched.get(), EV_READ, loop::FileIdentity(file));
  const Fd other(open("/proc/self/exe", O_RDONLY));
  ASSERT_EQ(watched.get(), dup2(other.get(), watched.get()));
  run_pending();
  run_pending();
  EXPECT_EQ(1, reader_.seen);
  EXPECT_TRUE(reader_.revents & EV_ERROR);
}

// After a fork libev tells a new epoll descriptor of all it knows.
TEST_F(IoWatcher, CallsOnceForADescriptorThatIsClosedBeforeAFork) {
  const int closed = dup(pipe_.a.get());
  ReaderWatcher watcher(raw(), &reader_);
  watcher.start(closed, EV_READ);
  run_pending();
  close(closed);
  the_loop().after_fork();
  run_pending();
  run_pending();
  EXPECT_EQ(1, reader_.seen);
  EXPECT_TRUE(reader_.revents & EV_ERROR);
}

TEST_F(IoWatcher, IsSilentOnceStoppedAlthoughItsDescriptorIsBad) {
  const int closed = dup(pipe_.a.get());
  close(closed);
  struct Both {
    void on_ready(int) noexcept {
      ++seen;
      for (auto* watcher : all) watcher->stop();
    }
    int seen = 0;
    std::vector<loop::IoWatcher<Both, &Both::on_ready>*> all;
  } both;
  loop::IoWatcher<Both, &Both::on_ready> first(raw(), &both), second(raw(), &both);
  both.all = {&first, &second};
  first.start(closed, EV_READ);
  second.start(closed, EV_READ);
  run_pending();
  EXPECT_EQ(1, both.seen);
}

using TimerWatcher = LoopTest;

struct Sleeper {
  int seen = 0;
  void on_due() noexcept { ++seen; }
};
using SleeperWatcher = loop::TimerWatcher<Sleeper, &Sleeper::on_due>;

TEST_F(TimerWatcher, CallsOnceNeverEarly) {
  Sleeper sleeper;
  SleeperWatcher watcher(raw(), &sleeper);
  const double started = loop::monotonic_s();
  watcher.start(0.0021);
  EXPECT_TRUE(watcher.active());
  while (sleeper.seen == 0) the_loop().poll(true);
  EXPECT_GE(loop::monotonic_s() - started, 0.002);
  EXPECT_FALSE(watcher.active());
  run_pending();
  EXPECT_EQ(1, sleeper.seen);
}

TEST_F(TimerWatcher, CanBeStartedAgain) {
  Sleeper sleeper;
  SleeperWatcher watcher(raw(), &sleeper);
  for (int i = 1; i <= 3; ++i) {
    watcher.start(-5);
    while (sleeper.seen < i) the_loop().poll(true);
  }
  EXPECT_EQ(3, sleeper.seen);
}

TEST_F(TimerWatcher, IsSilentOnceStopped) {
  Sleeper sleeper;
  {
    SleeperWatcher watcher(raw(), &sleeper);
    watcher.start(0);
  }
  run_pending();
  EXPECT_EQ(0, sleeper.seen);
}

// Both are due; the first one called stops the other before its turn comes.
TEST_F(TimerWatcher, IsSilentOnceStoppedAlthoughItIsDue) {
  struct Both {
    void on_due() noexcept {
      ++seen;
      for (auto* watcher : all) watcher->stop();
    }
    int seen = 0;
    std::vector<loop::TimerWatcher<Both, &Both::on_due>*> all;
  } both;
  const int before = loop::active_watchers;
  loop::TimerWatcher<Both, &Both::on_due> first(raw(), &both), second(raw(), &both);
  both.all = {&first, &second};
  first.start(0);
  second.start(0);
  while (both.seen == 0) the_loop().poll(true);
  run_pending();
  EXPECT_EQ(1, both.seen);
  EXPECT_EQ(before, loop::active_watchers);
}

struct Listener {
  int seen = 0;
  void on_sent() noexcept { ++seen; }
};

using AsyncWatcher = LoopTest;

TEST_F(AsyncWatcher, CallsOnceForSeveralSendsOfAThread) {
  Listener listener;
  loop::AsyncWatcher<Listener, &Listener::on_sent> watcher(raw(), &listener);
  watcher.start();
  std::thread([&] {
    for (int i = 0; i < 5; ++i) watcher.send();
  }).join();
  run_pending();
  EXPECT_EQ(1, listener.seen);
  watcher.stop();
  watcher.stop();
}

using SignalWatcher = LoopTest;

TEST_F(SignalWatcher, CallsOnTheLoop) {
  Listener listener;
  loop::SignalWatcher<Listener, &Listener::on_sent> watcher(raw(), &listener);
  watcher.start(SIGUSR1);
  std::raise(SIGUSR1);
  EXPECT_EQ(0, listener.seen);
  run_pending();
  EXPECT_EQ(1, listener.seen);
}

}  // namespace
}  // namespace unit
