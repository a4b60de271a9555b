#include "suspend/coroutine.h"

#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>
#include <string>

#include "suspend/fiber.h"
#include "tests/unit/suspend/bare_observer.h"

namespace suspend {
namespace {

constexpr std::size_t kStackSize = 64 * 1024;

// A coroutine that runs a function and goes where that says.
class Runner {
 public:
  using Work = std::function<Coroutine&()>;
  explicit Runner(Work work) : coroutine_(kStackSize), work_(std::move(work)) { again(); }
  void again() {
    coroutine_.prepare([](void* self) noexcept -> Coroutine& { return static_cast<Runner*>(self)->work_(); },
                       this);
  }
  Coroutine& coroutine() { return coroutine_; }

 private:
  Coroutine coroutine_;
  Work work_;
};

class CoroutineTest : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_EQ(0, Coroutine::count()); }

  Coroutine main_;
  std::string seen_;
};

TEST_F(CoroutineTest, RunsATaskAndGoesWhereItSays) {
  Runner runner([&]() -> Coroutine& {
    seen_ += "task ";
    return main_;
  });
  main_.switch_to(runner.coroutine());
  EXPECT_EQ("task ", seen_);
  EXPECT_TRUE(runner.coroutine().idle());
}

TEST_F(CoroutineTest, RunsTaskAfterTask) {
  Runner runner([&]() -> Coroutine& {
    seen_ += "task ";
    return main_;
  });
  main_.switch_to(runner.coroutine());
  runner.again();
  main_.switch_to(runner.coroutine());
  EXPECT_EQ("task task ", seen_);
}

TEST_F(CoroutineTest, GoesOnWhereItLeft) {
  Runner* self = nullptr;
  Runner runner([&]() -> Coroutine& {
    for (int i = 0; i < 3; ++i) {
      seen_ += std::to_string(i);
      self->coroutine().switch_to(main_);
    }
    return main_;
  });
  self = &runner;
  while (!runner.coroutine().idle()) {
    seen_ += "m";
    main_.switch_to(runner.coroutine());
  }
  EXPECT_EQ("m0m1m2m", seen_);
}

TEST_F(CoroutineTest, HandsOverToASibling) {
  Runner last([&]() -> Coroutine& {
    seen_ += "last ";
    return main_;
  });
  Runner first([&]() -> Coroutine& {
    seen_ += "first ";
    return last.coroutine();
  });
  main_.switch_to(first.coroutine());
  EXPECT_EQ("first last ", seen_);
}

TEST_F(CoroutineTest, KeepsItsExceptionsToItself) {
  Runner* self = nullptr;
  Runner runner([&]() -> Coroutine& {
    try {
      throw std::runtime_error("inner");
    } catch (...) {
      self->coroutine().switch_to(main_);
      try {
        throw;
      } catch (const std::exception& error) {
        seen_ += error.what();
      }
    }
    return main_;
  });
  self = &runner;
  try {
    throw std::runtime_error("outer");
  } catch (...) {
    main_.switch_to(runner.coroutine());
    main_.switch_to(runner.coroutine());
    EXPECT_THROW(throw, std::runtime_error);
  }
  EXPECT_EQ("inner", seen_);
}

// The fiber is resumed in the coroutine that ran as it suspended.
TEST_F(CoroutineTest, SuspendsTheFiberItRunsOn) {
  BareObserver observer;
  Fiber fiber(kStackSize, observer);
  Coroutine of_fiber;
  Runner runner([&]() -> Coroutine& {
    seen_ += "in ";
    Fiber::current()->suspend();
    seen_ += "again ";
    return of_fiber;
  });
  struct Both {
    Coroutine& of_fiber;
    Coroutine& other;
    std::string& seen;
  } both{of_fiber, runner.coroutine(), seen_};
  fiber.start(
      [](void* argument) noexcept {
        auto& task = *static_cast<Both*>(argument);
        task.of_fiber.switch_to(task.other);
        task.seen += "fiber";
      },
      &both);
  seen_ += "loop ";
  EXPECT_FALSE(fiber.idle());
  fiber.resume();
  EXPECT_EQ("in loop again fiber", seen_);
  EXPECT_TRUE(fiber.idle());
}

// One that never ran, too, ends without being unwound.
TEST_F(CoroutineTest, IsDestroyedUnused) {
  Coroutine unused(kStackSize);
  EXPECT_EQ(1, Coroutine::count());
}

}  // namespace
}  // namespace suspend
