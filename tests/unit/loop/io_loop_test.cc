#include "plugin/loop/io_loop.h"

#include <csignal>
#include <memory>
#include <thread>

#include "tests/unit/loop/test_loop.h"

namespace unit {
namespace {

class IoLoop : public LoopTest {};

struct Count {
  int seen = 0;
  loop::IoLoop* loop = nullptr;
  int stop_at = 0;
  loop::Callback callback() {
    return {[](void* self) noexcept {
              auto* count = static_cast<Count*>(self);
              if (++count->seen == count->stop_at) count->loop->stop();
            },
            this};
  }
};

TEST_F(IoLoop, RunsCallbacksInTheNextTurn) {
  Count count;
  the_loop().add_callback(count.callback());
  EXPECT_TRUE(the_loop().has_callbacks());
  EXPECT_EQ(0, count.seen);
  the_loop().add_callback_threadsafe(count.callback());
  while (count.seen < 2) the_loop().turn();
  EXPECT_FALSE(the_loop().has_callbacks());
}

TEST_F(IoLoop, TurnsUntilStopped) {
  Count count{0, &the_loop(), 1};
  the_loop().add_callback(count.callback());
  the_loop().run();
  EXPECT_EQ(1, count.seen);
  the_loop().add_callback(count.callback());
  count.stop_at = 2;
  the_loop().run();
  EXPECT_EQ(2, count.seen);
}

TEST_F(IoLoop, IsWokenByAnotherThread) {
  constexpr int kEach = 1000;
  Count count{0, &the_loop(), 4 * kEach};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < kEach; ++n) the_loop().add_callback_threadsafe(count.callback());
    });
  }
  the_loop().run();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(4 * kEach, count.seen);
}

// The loop may go as soon as what was posted has run, whatever its posters still have to do. One
// wakes it for all.
TEST(IoLoopOfItsOwn, MayEndOnceWhatOtherThreadsPostedHasRun) {
  constexpr int kPosters = 4;
  for (int i = 0; i < 500; ++i) {
    auto loop = std::make_unique<loop::IoLoop>();
    Count count{0, loop.get(), kPosters};
    std::vector<std::thread> posters;
    for (int poster = 0; poster < kPosters; ++poster) {
      posters.emplace_back(
          [to = loop.get(), callback = count.callback()] { to->add_callback_threadsafe(callback); });
    }
    while (count.seen < kPosters) loop->turn();
    loop.reset();
    for (std::thread& poster : posters) poster.join();
  }
}

// Endless callbacks must not keep the loop from its events.
TEST_F(IoLoop, SeesEventsBetweenCallbacks) {
  struct Busy {
    loop::IoLoop* loop;
    bool ready = false;
    void on_ready(int) noexcept { ready = true; }
    static void again(void* self) noexcept {
      auto* busy = static_cast<Busy*>(self);
      busy->loop->add_callback({&Busy::again, self});
      if (busy->ready) busy->loop->stop();
    }
  } busy{&the_loop()};
  Pair pipe = make_pipe();
  ASSERT_EQ(1, write(pipe.b.get(), "x", 1));
  loop::IoWatcher<Busy, &Busy::on_ready> watcher(raw(), &busy);
  watcher.start(pipe.a.get(), EV_READ);
  the_loop().add_callback({&Busy::again, &busy});
  the_loop().run();
  EXPECT_TRUE(busy.ready);
}

TEST_F(IoLoop, MayTurnInsideACallback) {
  struct Inside {
    loop::IoLoop* loop;
    Count inner{};
    void on_due() noexcept {
      loop->add_callback(inner.callback());
      loop->add_callback_threadsafe({[](void*) noexcept {}, nullptr});  // Or the turn would sleep.
      loop->turn();
      loop->stop();
    }
  } inside{&the_loop()};
  loop::TimerWatcher<Inside, &Inside::on_due> timer(raw(), &inside);
  timer.start(0);
  the_loop().run();
  EXPECT_EQ(1, inside.inner.seen);
}

// Two timers are due at once; what the first one's callback waits for, turning the loop, is
// that the second one's was called.
TEST_F(IoLoop, TurningInsideACallbackDoesNotSleepOverWhatWasDueWithIt) {
  struct Due {
    loop::IoLoop* loop;
    int called = 0;
    void on_due() noexcept {
      if (++called == 2) loop->add_callback({[](void*) noexcept {}, nullptr});
      while (called < 2) loop->turn();
      loop->stop();
    }
  } due{&the_loop()};
  loop::TimerWatcher<Due, &Due::on_due> one(raw(), &due), other(raw(), &due);
  one.start(0);
  other.start(0);
  alarm(60);  // Or it sleeps for ever.
  the_loop().run();
  alarm(0);
  EXPECT_EQ(2, due.called);
}

TEST_F(IoLoop, RunsOneIdleCallbackATurnOnceNothingElseWaits) {
  Count idle;
  the_loop().add_idle_callback(idle.callback());
  the_loop().add_idle_callback(idle.callback());
  the_loop().turn();
  EXPECT_EQ(1, idle.seen);
  the_loop().turn();
  EXPECT_EQ(2, idle.seen);
}

TEST_F(IoLoop, GetsToIdleCallbacksHoweverBusyItIs) {
  struct Busy {
    loop::IoLoop* loop;
    int turns = 0;
    static void again(void* self) noexcept {
      auto* busy = static_cast<Busy*>(self);
      ++busy->turns;
      busy->loop->add_callback({&Busy::again, self});
    }
  } busy{&the_loop()};
  Count idle{0, &the_loop(), 1};
  the_loop().add_callback({&Busy::again, &busy});
  the_loop().add_idle_callback(idle.callback());
  the_loop().turn();
  EXPECT_EQ(0, idle.seen);
  the_loop().run();
  EXPECT_EQ(1, idle.seen);
  EXPECT_LT(busy.turns, 100);
}

struct Turns final : loop::TurnObserver {
  int turns = 0, sleeps = 0, wakes = 0;
  void turning() noexcept override { ++turns; }
  void falling_asleep() noexcept override {
    EXPECT_EQ(sleeps, wakes);
    ++sleeps;
  }
  void awake() noexcept override { ++wakes; }
};

TEST_F(IoLoop, TellsWhenItMaySleepAndOnlyThen) {
  Turns turns;
  the_loop().observe(&turns);
  the_loop().add_callback_threadsafe({[](void*) noexcept {}, nullptr});
  the_loop().turn();
  EXPECT_EQ(1, turns.turns);
  EXPECT_EQ(1, turns.sleeps);
  EXPECT_EQ(1, turns.wakes);
  // A callback queued by a callback: the poll only looks.
  the_loop().add_callback({[](void* self) noexcept {
                             static_cast<loop::IoLoop*>(self)->add_callback({[](void*) noexcept {}, nullptr});
                           },
                           &the_loop()});
  the_loop().turn();
  EXPECT_EQ(2, turns.turns);
  EXPECT_EQ(1, turns.sleeps);
  the_loop().observe(nullptr);
}

}  // namespace
}  // namespace unit
