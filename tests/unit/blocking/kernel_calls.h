// Calls of the kernel's that a test makes by their names, and what waits for them to begin.
#pragma once

#include <cstdlib>
#include <functional>
#include <string_view>
#include <utility>

#include "plugin/blocking/replacements.h"
#include "tests/unit/blocking/test_gate.h"

namespace unit {

template <typename Function>
Function* call(std::string_view name) {
  for (const blocking::Replacement& one : blocking::replacements()) {
    if (name == one.name && blocking::reaches(one.scope, blocking::Kind::kListed)) {
      return reinterpret_cast<Function*>(one.replacement);
    }
  }
  std::abort();
}

// The same on fibers and on threads.
class KernelCallsTest : public BothWorldsTest {
 protected:
  // Runs `waits`, then `wakes` once the first waits: on fibers that is known, a thread may be late, which is
  // as well.
  void run_both(std::function<void()> waits, std::function<void()> wakes) {
    spawn(std::move(waits));
    if (on_fibers()) {
      EXPECT_EQ(1u, running()) << "it did not wait";
    }
    spawn(std::move(wakes));
    run();
    if (on_fibers()) {
      EXPECT_GT(suspensions(), 0u);
    }
  }
};

}  // namespace unit
