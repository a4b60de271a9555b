#include "plugin/engine/overload.h"

#include <gtest/gtest.h>

#include <string>

namespace engine {
namespace {

// Notes what it is asked for, and is the clock.
class Host final : public OverloadHost {
 public:
  void call_due_in(double seconds) noexcept override { due_in_s = seconds; }
  void call_off() noexcept override { due_in_s = 0; }
  bool demand_is_met() const noexcept override { return met; }
  void overload_changed() noexcept override { ++changes; }
  void refusing_begins() noexcept override { said += "begins "; }
  void refusing_ends() noexcept override { said += "ends "; }

  double due_in_s = 0;  // 0: nothing is due.
  bool met = false;
  int changes = 0;
  std::string said;
};

class OverloadTest : public testing::Test {
 protected:
  void becomes_due() {
    ASSERT_GT(host.due_in_s, 0);
    host.due_in_s = 0;
    overload.due();
  }
  void begin_refusing() {
    overload.cores_ran_out();
    becomes_due();
    ASSERT_TRUE(overload.refusing());
  }

  Host host;
  Overload overload{host, 3};
};

TEST_F(OverloadTest, RefusesOnceCoresHaveLackedForTheWholeWait) {
  overload.cores_ran_out();
  EXPECT_FALSE(overload.calm());
  EXPECT_FALSE(overload.refusing());
  EXPECT_EQ(3, host.due_in_s);
  becomes_due();
  EXPECT_TRUE(overload.refusing());
  EXPECT_EQ("begins ", host.said);
}

TEST_F(OverloadTest, IsCalmAgainWhereACoreComesFreeInTime) {
  overload.cores_ran_out();
  overload.demand_met();
  EXPECT_TRUE(overload.calm());
  EXPECT_EQ(0, host.due_in_s);
  EXPECT_EQ("", host.said);
}

TEST_F(OverloadTest, LooksOnceMoreBeforeItRefuses) {
  overload.cores_ran_out();
  host.met = true;
  becomes_due();
  EXPECT_TRUE(overload.calm());
  EXPECT_EQ("", host.said);
}

TEST_F(OverloadTest, IsOverOnceCoresHaveStayedFree) {
  begin_refusing();
  overload.demand_met();
  EXPECT_FALSE(overload.refusing());
  EXPECT_FALSE(overload.calm());
  EXPECT_EQ(Overload::kEaseS, host.due_in_s);
  becomes_due();
  EXPECT_TRUE(overload.calm());
  EXPECT_EQ("begins ends ", host.said);
}

TEST_F(OverloadTest, GoesOnInTheSameBoutWhereCoresRunOutAgain) {
  begin_refusing();
  overload.demand_met();
  overload.cores_ran_out();
  EXPECT_TRUE(overload.refusing());
  EXPECT_EQ(0, host.due_in_s);
  EXPECT_EQ("begins ", host.said);
}

TEST_F(OverloadTest, WhatComesTwiceChangesNothing) {
  overload.demand_met();
  EXPECT_EQ(0, host.changes);
  begin_refusing();
  const int changes = host.changes;
  overload.cores_ran_out();
  EXPECT_EQ(changes, host.changes);
  EXPECT_EQ(0, host.due_in_s);
  overload.demand_met();
  host.due_in_s = 0.5;  // Half of it is over.
  overload.demand_met();
  EXPECT_EQ(0.5, host.due_in_s);
}

TEST_F(OverloadTest, DueOutOfTimeChangesNothing) {
  overload.due();
  EXPECT_TRUE(overload.calm());
  begin_refusing();
  overload.due();
  EXPECT_TRUE(overload.refusing());
  EXPECT_EQ("begins ", host.said);
}

TEST_F(OverloadTest, EachChangeIsTold) {
  begin_refusing();
  overload.demand_met();
  becomes_due();
  EXPECT_EQ(4, host.changes);
}

TEST(Overload, NeverRefusesWhereItIsNotWanted) {
  Host host;
  Overload overload(host, -1);
  overload.cores_ran_out();
  EXPECT_TRUE(overload.calm());
  EXPECT_EQ(0, host.due_in_s);
}

}  // namespace
}  // namespace engine
