#include "suspend/stack.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstring>
#include <new>

#include "suspend/fiber.h"

namespace suspend {
namespace {

const std::size_t kPage = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));

TEST(Stack, HasWholePages) {
  const Stack stack(3 * kPage + 1);
  EXPECT_EQ(4 * kPage, stack.size());
  EXPECT_EQ(static_cast<char*>(stack.bottom()) + stack.size(), stack.top());
  EXPECT_EQ(0u, reinterpret_cast<std::uintptr_t>(stack.top()) % kPage);
}

TEST(Stack, CanBeWrittenFromTopToBottom) {
  const Stack stack(4 * kPage);
  std::memset(stack.bottom(), 0x5a, stack.size());
}

TEST(Stack, KnowsItsGuardPage) {
  const Stack stack(kPage);
  const char* bottom = static_cast<char*>(stack.bottom());
  EXPECT_FALSE(stack.guards(bottom));
  EXPECT_TRUE(stack.guards(bottom - 1));
  EXPECT_TRUE(stack.guards(bottom - kPage));
  EXPECT_FALSE(stack.guards(bottom - kPage - 1));
  EXPECT_FALSE(stack.guards(nullptr));
}

// Reserved only: a thousand large stacks must not cost memory.
TEST(Stack, CommitsWhatIsTouched) {
  const Stack stack(16 << 20);
  static_cast<char*>(stack.top())[-1] = 1;
  std::vector<unsigned char> resident(stack.size() / kPage);
  ASSERT_EQ(0, mincore(stack.bottom(), stack.size(), resident.data()));
  int touched = 0;
  for (const unsigned char page : resident) touched += page & 1;
  EXPECT_EQ(1, touched);
}

TEST(Stack, SaysThatThereIsNoRoom) {
  EXPECT_THROW(Stack(std::size_t{1} << 60), std::bad_alloc);
  EXPECT_THROW(Stack(SIZE_MAX), std::bad_alloc);
}

const Stack* overrun = nullptr;

struct Silent final : SwitchObserver {
  void entering() noexcept override {}
  void entered() noexcept override {}
  bool left() noexcept override { return false; }
};

void on_fault(int, siginfo_t* info, void*) {
  const char* said = overrun->guards(info->si_addr) ? "hit the guard page\n" : "hit something else\n";
  (void)!write(STDERR_FILENO, said, std::strlen(said));
  _exit(3);
}

[[gnu::noinline]] int dive(int depth) {
  volatile char frame[512];
  frame[0] = static_cast<char>(depth);
  return depth == 0 ? 0 : dive(depth - 1) + frame[0];
}

void overrun_a_fiber() {
  static char alternate[64 * 1024];
  stack_t signal_stack{};
  signal_stack.ss_sp = alternate;
  signal_stack.ss_size = sizeof alternate;
  sigaltstack(&signal_stack, nullptr);
  struct sigaction action {};
  action.sa_sigaction = &on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr);

  Silent silent;
  Fiber fiber(64 * 1024, silent);
  overrun = &fiber.stack();
  fiber.start([](void*) noexcept { dive(1 << 20); }, nullptr);
}

TEST(StackDeathTest, StopsAFiberThatOverrunsAtTheGuardPage) {
  EXPECT_EXIT(overrun_a_fiber(), ::testing::ExitedWithCode(3), "hit the guard page");
}

}  // namespace
}  // namespace suspend
