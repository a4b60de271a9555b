// Idle callbacks: where fibers that gave way wait for their next turn.
#include "plugin/loop/io_loop.h"

#include <string>

#include "tests/unit/loop/test_loop.h"

namespace unit {
namespace {

class IdleCallbacks : public LoopTest {
 protected:
  // Appends its letter to `said` and, while it has rounds left, waits for its next turn.
  struct Speaker {
    IdleCallbacks* test;
    char letter;
    int rounds = 1;

    loop::Callback callback() { return {&Speaker::speak, this}; }
    static void speak(void* self) noexcept {
      auto* speaker = static_cast<Speaker*>(self);
      speaker->test->said_ += speaker->letter;
      if (--speaker->rounds > 0) speaker->test->the_loop().add_idle_callback(speaker->callback());
    }
    void on_due() noexcept { speak(this); }
    void on_ready(int) noexcept { speak(this); }
  };

  // As many turns as letters; a turn that would sleep ends the test.
  void expect_turns(const std::string& letters) {
    alarm(60);
    for (std::size_t i = 1; i <= letters.size(); ++i) {
      the_loop().turn();
      EXPECT_EQ(letters.substr(0, i), said_);
    }
    alarm(0);
  }

  std::string said_;
};

TEST_F(IdleCallbacks, TakeTurns) {
  Speaker a{this, 'a', 3}, b{this, 'b', 3}, c{this, 'c', 1};
  the_loop().add_idle_callback(a.callback());
  the_loop().add_idle_callback(b.callback());
  the_loop().add_idle_callback(c.callback());
  expect_turns("abcabab");
}

TEST_F(IdleCallbacks, ComeAfterCallbacks) {
  Speaker idle{this, 'i'}, ready{this, 'r'};
  the_loop().add_idle_callback(idle.callback());
  the_loop().add_callback(ready.callback());
  the_loop().turn();
  EXPECT_EQ("ri", said_);
}

TEST_F(IdleCallbacks, WaitForTheNextTurnOnceTheyArePostponed) {
  Speaker idle{this, 'i'};
  the_loop().add_idle_callback(idle.callback());
  the_loop().postpone_idle_callbacks();
  the_loop().turn();
  EXPECT_EQ("", said_);
  the_loop().turn();
  EXPECT_EQ("i", said_);
}

TEST_F(IdleCallbacks, RunEvenIfEveryTurnPostponesThem) {
  Speaker idle{this, 'i'};
  the_loop().add_idle_callback(idle.callback());
  for (int turn = 0; turn < 16; ++turn) {
    the_loop().postpone_idle_callbacks();
    the_loop().turn();
  }
  EXPECT_EQ("i", said_);
}

TEST_F(IdleCallbacks, ComeAfterWhatIsDueAndWhatIsReady) {
  Speaker idle{this, 'i'}, due{this, 'd'}, readable{this, 'r'};
  Pair pipe = make_pipe();
  ASSERT_EQ(1, write(pipe.b.get(), "x", 1));
  loop::TimerWatcher<Speaker, &Speaker::on_due> timer(raw(), &due);
  loop::IoWatcher<Speaker, &Speaker::on_ready> watcher(raw(), &readable);
  timer.start(0);
  watcher.start(pipe.a.get(), EV_READ);
  the_loop().add_idle_callback(idle.callback());
  the_loop().turn();
  ASSERT_EQ(3u, said_.size());
  EXPECT_EQ('i', said_.back());
}

// A callback queued by an event is ready: the idle one lets it pass.
TEST_F(IdleCallbacks, ComeAfterCallbacksOfEvents) {
  struct Relay {
    loop::IoLoop* loop;
    loop::Callback next;
    void on_due() noexcept { loop->add_callback(next); }
  };
  Speaker idle{this, 'i'}, ready{this, 'r'};
  Relay relay{&the_loop(), ready.callback()};
  loop::TimerWatcher<Relay, &Relay::on_due> timer(raw(), &relay);
  timer.start(0);
  the_loop().add_idle_callback(idle.callback());
  the_loop().turn();
  EXPECT_EQ("", said_);
  the_loop().turn();
  EXPECT_EQ("ri", said_);
}

TEST_F(IdleCallbacks, KeepTheLoopFromSleeping) {
  loop::TimerWatcher<Speaker, &Speaker::on_due> timer(raw(), nullptr);
  timer.start(3600);
  Speaker idle{this, 'i', 2};
  the_loop().add_idle_callback(idle.callback());
  expect_turns("ii");
}

// Events are looked at between two of them, or what computes would keep the loop from them.
TEST_F(IdleCallbacks, LetEventsInBetween) {
  Pair pipe = make_pipe();
  ASSERT_EQ(1, write(pipe.b.get(), "x", 1));
  Speaker idle{this, 'i', 3}, readable{this, 'r'};
  readable.rounds = 0;
  loop::IoWatcher<Speaker, &Speaker::on_ready> watcher(raw(), &readable);
  watcher.start(pipe.a.get(), EV_READ);
  the_loop().add_idle_callback(idle.callback());
  for (int i = 0; i < 3; ++i) the_loop().turn();
  EXPECT_EQ("ririri", said_);
}

TEST_F(IdleCallbacks, RunInATurnInsideACallback) {
  struct Inside {
    loop::IoLoop* loop;
    static void turn(void* self) noexcept {
      static_cast<Inside*>(self)->loop->turn();
      static_cast<Inside*>(self)->loop->stop();  // Or the turn round it would sleep.
    }
  } inside{&the_loop()};
  Speaker idle{this, 'i'};
  the_loop().add_callback({&Inside::turn, &inside});
  the_loop().add_idle_callback(idle.callback());
  expect_turns("i");
}

}  // namespace
}  // namespace unit
