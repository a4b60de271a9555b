#include "suspend/exception_scope.h"

#include <gtest/gtest.h>

#include <exception>
#include <stdexcept>

namespace suspend {
namespace {

TEST(ExceptionScope, SetsTheCaughtExceptionAsideAndBringsItBack) {
  try {
    throw std::runtime_error("ours");
  } catch (const std::runtime_error&) {
    {
      const ExceptionScope ours;
      ExceptionScope::start_clean();
      EXPECT_EQ(nullptr, std::current_exception());
      EXPECT_THROW(throw std::logic_error("theirs"), std::logic_error);
    }
    EXPECT_THROW(throw, std::runtime_error);
  }
  EXPECT_EQ(nullptr, std::current_exception());
}

TEST(ExceptionScope, KeepsTheCountOfUncaughtExceptions) {
  struct Unwinding {
    ~Unwinding() {
      {
        const ExceptionScope ours;
        ExceptionScope::start_clean();
        EXPECT_EQ(0, std::uncaught_exceptions());
      }
      EXPECT_EQ(1, std::uncaught_exceptions());
    }
  };
  EXPECT_THROW(
      {
        const Unwinding unwinding;
        throw std::runtime_error("unwinds");
      },
      std::runtime_error);
}

}  // namespace
}  // namespace suspend
