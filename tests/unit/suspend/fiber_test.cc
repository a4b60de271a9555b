#include "suspend/fiber.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/suspend/bare_observer.h"

namespace suspend {
namespace {

struct Steps final : BareObserver {
  std::string seen;
  void entering() noexcept override { seen += "entering "; }
  void entered() noexcept override { seen += "entered "; }
  void leaving() noexcept override { seen += "leaving "; }
  bool left() noexcept override {
    seen += "left ";
    return send_back-- > 0;
  }
  int send_back = 0;
};

// A fiber that runs functions.
class Runner {
 public:
  explicit Runner(std::size_t stack_size = 64 * 1024) : fiber_(stack_size, steps_) {}
  void start(std::function<void()> work) {
    work_ = std::move(work);
    fiber_.start([](void* self) noexcept { static_cast<Runner*>(self)->work_(); }, this);
  }
  Fiber& fiber() { return fiber_; }
  Steps& steps() { return steps_; }

 private:
  Steps steps_;
  std::function<void()> work_;
  Fiber fiber_;
};

void suspend_here() { Fiber::current()->suspend(); }

class FiberTest : public ::testing::Test {
 protected:
  void TearDown() override {
    EXPECT_EQ(nullptr, Fiber::current());
    EXPECT_EQ(0, Fiber::count());
  }
};

TEST_F(FiberTest, RunsATaskToItsEnd) {
  Runner runner;
  Fiber* seen = nullptr;
  runner.start([&] { seen = Fiber::current(); });
  EXPECT_EQ(&runner.fiber(), seen);
  EXPECT_EQ(nullptr, Fiber::current());
  EXPECT_TRUE(runner.fiber().idle());
}

TEST_F(FiberTest, HasAStackThatSufficesForAThread) {
  Runner runner(1);
  bool ran = false;
  runner.start([&] { ran = true; });
  EXPECT_TRUE(ran);
}

TEST_F(FiberTest, GoesOnWhereItSuspended) {
  Runner runner;
  std::vector<int> order;
  runner.start([&] {
    for (int i = 0; i < 3; ++i) {
      order.push_back(i);
      suspend_here();
    }
  });
  for (int i = 10; !runner.fiber().idle(); ++i) {
    order.push_back(i);
    runner.fiber().resume();
  }
  EXPECT_EQ((std::vector<int>{0, 10, 1, 11, 2, 12}), order);
}

TEST_F(FiberTest, RunsOneTaskAfterAnother) {
  Runner runner;
  int sum = 0;
  for (int i = 1; i <= 1000; ++i) {
    runner.start([&sum, i] {
      suspend_here();
      sum += i;
    });
    runner.fiber().resume();
    ASSERT_TRUE(runner.fiber().idle());
  }
  EXPECT_EQ(500500, sum);
}

TEST_F(FiberTest, MayNeverHaveRun) {
  Runner runner;
  EXPECT_TRUE(runner.fiber().idle());
  EXPECT_EQ(1, Fiber::count());
}

TEST_F(FiberTest, TellsItsObserverOfEverySwitch) {
  Runner runner;
  runner.start(suspend_here);
  runner.steps().seen += "| ";
  runner.fiber().resume();
  EXPECT_EQ("entering entered leaving left | entering entered leaving left ", runner.steps().seen);
}

TEST_F(FiberTest, GoesStraightBackWhereItsObserverSaysSo) {
  Runner runner;
  runner.steps().send_back = 2;
  int resumed = 0;
  runner.start([&] {
    for (int i = 0; i < 3; ++i) {
      suspend_here();
      ++resumed;
    }
  });
  EXPECT_EQ(2, resumed);
  EXPECT_EQ("entering entered leaving left entering entered leaving left entering entered leaving left ",
            runner.steps().seen);
  runner.fiber().resume();
}

TEST_F(FiberTest, IsNobodysOnAnotherThread) {
  Runner runner;
  runner.start([] { std::thread([] { EXPECT_EQ(nullptr, Fiber::current()); }).join(); });
}

TEST_F(FiberTest, KeepsItsLocalsAmongThousands) {
  constexpr int kFibers = 3000;
  std::vector<std::unique_ptr<Runner>> runners;
  int right = 0;
  for (int i = 0; i < kFibers; ++i) {
    runners.push_back(std::make_unique<Runner>(16 * 1024));
    runners.back()->start([i, &right] {
      volatile int local[64];
      for (int n = 0; n < 64; ++n) local[n] = i + n;
      suspend_here();
      bool same = true;
      for (int n = 0; n < 64; ++n) same = same && local[n] == i + n;
      right += same ? 1 : 0;
    });
  }
  EXPECT_EQ(kFibers, Fiber::count());
  for (int i = 0; i < kFibers; ++i) runners[static_cast<std::size_t>(i * 7 % kFibers)]->fiber().resume();
  EXPECT_EQ(kFibers, right);
}

TEST_F(FiberTest, LetsExceptionsPassThroughItsOwnFrames) {
  Runner runner;
  std::string caught;
  runner.start([&] {
    try {
      suspend_here();
      throw std::runtime_error("inside");
    } catch (const std::exception& error) {
      caught = error.what();
    }
  });
  runner.fiber().resume();
  EXPECT_EQ("inside", caught);
}

// The C++ runtime keeps caught exceptions per thread; each fiber must find its own.
TEST_F(FiberTest, RethrowsItsOwnException) {
  constexpr int kFibers = 50;
  std::vector<std::unique_ptr<Runner>> runners;
  std::vector<std::string> caught(kFibers);
  for (std::size_t i = 0; i < kFibers; ++i) {
    runners.push_back(std::make_unique<Runner>());
    runners[i]->start([i, &caught] {
      try {
        try {
          throw std::runtime_error("fiber " + std::to_string(i));
        } catch (...) {
          suspend_here();
          throw;
        }
      } catch (const std::exception& error) {
        caught[i] = error.what();
      }
      EXPECT_EQ(nullptr, std::current_exception());
    });
  }
  // Neither first in, first out nor its reverse.
  for (std::size_t i = 0; i < kFibers; ++i) runners[i * 7 % kFibers]->fiber().resume();
  for (std::size_t i = 0; i < kFibers; ++i) EXPECT_EQ("fiber " + std::to_string(i), caught[i]);
}

TEST_F(FiberTest, StartsWithNoExceptionInFlight) {
  Runner runner;
  try {
    throw std::logic_error("the resumer's");
  } catch (const std::logic_error&) {
    runner.start([] {
      EXPECT_EQ(nullptr, std::current_exception());
      suspend_here();
      EXPECT_EQ(nullptr, std::current_exception());
      try {
        throw std::runtime_error("the fiber's");
      } catch (const std::runtime_error&) {
        suspend_here();
      }
    });
    runner.fiber().resume();
    EXPECT_THROW(throw, std::logic_error);
  }
  runner.fiber().resume();
}

// A destructor that runs because of an exception may suspend too.
TEST_F(FiberTest, CountsUncaughtExceptionsPerFiber) {
  struct Suspends {
    ~Suspends() {
      EXPECT_EQ(1, std::uncaught_exceptions());
      suspend_here();
      EXPECT_EQ(1, std::uncaught_exceptions());
    }
  };
  Runner runner;
  runner.start([] {
    try {
      const Suspends suspends;
      throw std::runtime_error("unwinds");
    } catch (const std::runtime_error&) {
    }
    EXPECT_EQ(0, std::uncaught_exceptions());
  });
  EXPECT_EQ(0, std::uncaught_exceptions());
  runner.fiber().resume();
  EXPECT_TRUE(runner.fiber().idle());
}

using FiberDeathTest = FiberTest;

TEST_F(FiberDeathTest, RefusesToDieWhileSuspended) {
  EXPECT_DEATH(
      {
        Runner runner;
        runner.start(suspend_here);
      },
      "idle");
}

TEST_F(FiberDeathTest, EndsTheProcessAtAnExceptionThatEscapes) {
  EXPECT_DEATH(
      {
        Runner runner;
        runner.start([] { throw std::runtime_error("escapes"); });
      },
      "escapes");
}

}  // namespace
}  // namespace suspend
