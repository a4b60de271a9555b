#include "plugin/loop/deadline.h"

#include <gtest/gtest.h>

namespace unit {
namespace {

using loop::Deadline;

TEST(Deadline, NeverNeverPasses) {
  EXPECT_TRUE(Deadline::never().is_never());
  EXPECT_FALSE(Deadline::never().passed());
}

TEST(Deadline, OfTheNegativeIsNow) {
  EXPECT_FALSE(Deadline::after(-5).is_never());
  EXPECT_TRUE(Deadline::after(-5).passed());
  EXPECT_EQ(0, Deadline::after(-5).left_s());
}

TEST(Deadline, CountsDown) {
  const Deadline deadline = Deadline::after(timespec{100, 500000000});
  EXPECT_FALSE(deadline.passed());
  EXPECT_LE(deadline.left_s(), 100.5);
  EXPECT_GT(deadline.left_s(), 90);
}

}  // namespace
}  // namespace unit
