// A loop for tests; at its end every watcher must have been stopped.
#pragma once

#include <gtest/gtest.h>

#include <optional>

#include "plugin/loop/io_loop.h"
#include "tests/unit/descriptors.h"

namespace unit {

class LoopTest : public ::testing::Test {
 protected:
  void SetUp() override {
    watchers_before_ = loop::active_watchers;
    descriptors_before_ = open_descriptors();
    loop_.emplace();
  }
  void TearDown() override {
    loop_.reset();
    EXPECT_EQ(watchers_before_, loop::active_watchers);
    EXPECT_EQ(descriptors_before_, open_descriptors());
  }

  loop::IoLoop& the_loop() { return *loop_; }
  struct ev_loop* raw() {
    return loop_->raw();
  }

  // Runs what is ready or due and does not sleep.
  void run_pending() { loop_->poll(false); }

 private:
  std::optional<loop::IoLoop> loop_;
  int watchers_before_ = 0;
  std::size_t descriptors_before_ = 0;
};

}  // namespace unit
