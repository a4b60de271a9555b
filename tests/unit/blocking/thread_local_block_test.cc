// The thread_local data of an object is found, each thread's own.
#include "plugin/blocking/thread_local_block.h"

#include <gtest/gtest.h>

#include <thread>

namespace unit {
namespace {

thread_local int of_this_program = 1;

void a_function() {}

bool covers(const blocking::ThreadLocalBlock& block, const void* address) {
  const auto* begin = static_cast<const char*>(block.begin);
  return begin != nullptr && address >= begin && address < begin + block.size;
}

TEST(ThreadLocalBlockTest, IsTheCallingThreads) {
  const auto own = blocking::thread_local_block(reinterpret_cast<const void*>(&a_function));
  EXPECT_TRUE(covers(own, &of_this_program));
  EXPECT_FALSE(own.starts_as_zeros);
  std::thread([&] {
    EXPECT_FALSE(covers(own, &of_this_program));
    const auto others = blocking::thread_local_block(reinterpret_cast<const void*>(&a_function));
    EXPECT_TRUE(covers(others, &of_this_program));
  }).join();
}

TEST(ThreadLocalBlockTest, OfNoObjectIsNone) {
  int on_stack = 0;
  EXPECT_EQ(nullptr, blocking::thread_local_block(&on_stack).begin);
}

}  // namespace
}  // namespace unit
