// Where an object's thread-local data are, also where the loader has no note of them.
#include "suspend/thread_local_block.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <climits>
#include <cstdlib>
#include <string>

#include "suspend/fiber.h"
#include "tests/unit/suspend/bare_observer.h"

namespace {

using AddressOfNumber = int* (*)();

std::string folder_of_this_program() {
  char* const path = realpath("/proc/self/exe", nullptr);
  const std::string program(path);
  std::free(path);
  return program.substr(0, program.rfind('/'));
}

void* open(const std::string& object) {
  return dlopen((folder_of_this_program() + "/" + object).c_str(), RTLD_NOW | RTLD_LOCAL);
}

AddressOfNumber function_of(void* object) {
  return reinterpret_cast<AddressOfNumber>(dlsym(object, "address_of_number"));
}

void expect_block_has_number(AddressOfNumber function) {
  auto* const number = reinterpret_cast<char*>(function());
  const auto block = suspend::thread_local_block_of(reinterpret_cast<const void*>(function));
  EXPECT_EQ(*function(), 7);
  ASSERT_NE(block.begin, nullptr);
  EXPECT_GE(number, block.begin);
  EXPECT_LT(number, block.begin + block.size);
  const auto offset = static_cast<std::size_t>(number - block.begin);
  EXPECT_EQ(suspend::address_in_this_thread({block.module, offset}), static_cast<void*>(number));
}

class ThreadLocalBlock : public testing::TestWithParam<const char*> {};

TEST_P(ThreadLocalBlock, IsFoundInThisThreadAndInAFiber) {
  void* const object = open(GetParam());
  ASSERT_NE(object, nullptr) << dlerror();
  static AddressOfNumber function;
  function = function_of(object);
  ASSERT_NE(function, nullptr);
  expect_block_has_number(function);
  static int* in_fiber;
  {
    suspend::BareObserver observer;
    suspend::Fiber fiber(256u << 10, observer);
    fiber.start(
        [](void*) noexcept {
          in_fiber = function();
          expect_block_has_number(function);
        },
        nullptr);
  }
  EXPECT_NE(in_fiber, function());
  dlclose(object);
}

INSTANTIATE_TEST_SUITE_P(Dialects, ThreadLocalBlock,
                         testing::Values("tls_by_call.so", "tls_by_descriptor.so"));

}  // namespace
