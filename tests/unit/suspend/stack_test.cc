#include "suspend/stack.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "suspend/fiber.h"
#include "tests/unit/suspend/bare_observer.h"

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

TEST(Stack, SharesAPageWithItsAnnex) {
  const Stack stack(4 * kPage, kPage + 1024);
  EXPECT_LE(4 * kPage, stack.size());
  EXPECT_EQ(stack.top(), stack.annex());
  EXPECT_EQ(kPage - 1024, reinterpret_cast<std::uintptr_t>(stack.annex()) % kPage);
  std::memset(stack.bottom(), 0x5a, stack.size() + stack.annex_size());
  EXPECT_EQ(5 * kPage, stack.bytes_used());  // With the page that they share.
}

constexpr std::size_t kGuard = 64u << 10;

TEST(Stack, KnowsItsGuard) {
  const Stack stack(kPage);
  const char* bottom = static_cast<char*>(stack.bottom());
  EXPECT_FALSE(stack.guards(bottom));
  EXPECT_TRUE(stack.guards(bottom - 1));
  EXPECT_TRUE(stack.guards(bottom - kGuard));
  EXPECT_FALSE(stack.guards(bottom - kGuard - 1));
  EXPECT_FALSE(stack.guards(nullptr));
}

TEST(Stack, IsFoundByAnAddressInItsGuard) {
  const Stack first(kPage);
  auto second = std::make_unique<Stack>(kPage);
  const Stack third(kPage);
  const auto below = [](const Stack& stack) { return static_cast<const char*>(stack.bottom()) - 8; };
  const char* const below_second = below(*second);
  EXPECT_EQ(&first, Stack::guarding(below(first)));
  EXPECT_EQ(second.get(), Stack::guarding(below_second));
  EXPECT_EQ(&third, Stack::guarding(below(third)));
  second.reset();
  EXPECT_EQ(nullptr, Stack::guarding(below_second));
  EXPECT_EQ(&first, Stack::guarding(below(first)));
  EXPECT_EQ(&third, Stack::guarding(below(third)));
  EXPECT_EQ(nullptr, Stack::guarding(&first));
}

std::size_t resident_bytes(const Stack& stack) {
  std::vector<unsigned char> resident((stack.size() + kPage - 1) / kPage);
  EXPECT_EQ(0, mincore(stack.bottom(), stack.size(), resident.data()));
  std::size_t bytes = 0;
  for (const unsigned char page : resident) bytes += (page & 1) * kPage;
  return bytes;
}

// Reserved only: a thousand large stacks must not cost memory.
TEST(Stack, CommitsWhatIsTouched) {
  const Stack stack(16 << 20);
  static_cast<char*>(stack.top())[-1] = 1;
  EXPECT_EQ(kPage, resident_bytes(stack));
}

void use(Stack& stack, std::size_t bytes) {
  std::memset(static_cast<char*>(stack.top()) - bytes, 0x5a, bytes);
}

TEST(Stack, SaysHowDeepItWasUsed) {
  Stack stack(4 << 20);
  EXPECT_EQ(0u, stack.bytes_used());
  use(stack, 1);
  EXPECT_EQ(kPage, stack.bytes_used());
  use(stack, 3 * kPage + 1);
  EXPECT_EQ(4 * kPage, stack.bytes_used());
  static_cast<char*>(stack.bottom())[0] = 1;  // With a hole in between.
  EXPECT_EQ(stack.size(), stack.bytes_used());
}

TEST(Stack, RemembersTheDeepestUseOfAll) {
  const std::size_t before = Stack::deepest();
  const std::size_t deeper = before / kPage * kPage + kPage;
  Stack stack(deeper + kPage);
  use(stack, deeper);
  EXPECT_EQ(before, Stack::deepest());
  EXPECT_EQ(deeper, stack.measure());
  EXPECT_EQ(deeper, Stack::deepest());
  Stack(kPage).measure();
  EXPECT_EQ(deeper, Stack::deepest());
}

TEST(Stack, TrimGivesBackWhatADeepCallUsed) {
  Stack stack(4 << 20);
  use(stack, 3 << 20);
  EXPECT_TRUE(stack.trim());
  EXPECT_EQ(Stack::kKept, resident_bytes(stack));
  EXPECT_GE(Stack::deepest(), 3u << 20);
  use(stack, 2 << 20);  // And again.
  EXPECT_TRUE(stack.trim());
  EXPECT_EQ(Stack::kKept, stack.bytes_used());
}

// A sorted() that calls itself leaves 3 KiB of each 5 as they were.
TEST(Stack, TrimFindsADeepCallWhoseFramesAreHardlyWritten) {
  for (std::size_t offset = 0; offset < 5 << 10; offset += 64) {
    Stack stack(1 << 20);
    for (std::size_t depth = offset; depth + (5 << 10) < stack.size(); depth += 5 << 10) {
      std::memset(static_cast<char*>(stack.top()) - depth - (2 << 10), 0x5a, 2 << 10);
    }
    EXPECT_TRUE(stack.trim()) << offset;
  }
}

TEST(Stack, TrimLeavesAShallowStackAsItIs) {
  Stack stack(4 << 20);
  use(stack, Stack::kKept);
  EXPECT_FALSE(stack.trim());
  EXPECT_EQ(Stack::kKept, stack.bytes_used());
  EXPECT_EQ(0x5a, static_cast<char*>(stack.top())[-1]);
  EXPECT_EQ(0x5a, static_cast<char*>(stack.top())[-static_cast<long>(Stack::kKept)]);
  Stack small(Stack::kKept);
  use(small, small.size());
  EXPECT_FALSE(small.trim());
  EXPECT_EQ(small.size(), small.bytes_used());
}

// The look itself must not cost memory: the kernel maps its page of zeros for it.
TEST(Stack, TrimOfAShallowStackCommitsNothing) {
  constexpr int kStacks = 200;
  const auto anonymous_kib = [] {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
      if (line.rfind("RssAnon:", 0) == 0) return std::stol(line.substr(8));
    }
    return 0L;
  };
  std::vector<std::unique_ptr<Stack>> stacks;
  for (int i = 0; i < kStacks; ++i) stacks.push_back(std::make_unique<Stack>(1 << 20));
  const long before = anonymous_kib();
  for (const auto& stack : stacks) EXPECT_FALSE(stack->trim());
  EXPECT_LT(anonymous_kib() - before, kStacks * static_cast<long>(kPage >> 10) / 2);
}

TEST(Stack, ReleasesWhatIsBelowAnAddress) {
  Stack stack(8 * kPage, 1024);
  use(stack, 5 * kPage);
  stack.release_below(static_cast<char*>(stack.top()) - 2 * kPage);
  EXPECT_EQ(3 * kPage, resident_bytes(stack));  // Not the page that the address is in.
  EXPECT_EQ(0x5a, static_cast<char*>(stack.top())[-2 * static_cast<long>(kPage)]);
  stack.release_below(stack.bottom());
  EXPECT_EQ(3 * kPage, resident_bytes(stack));
}

TEST(Stack, KnowsOneThatIsUsedUp) {
  Stack stack(16 * kPage);
  use(stack, 15 * kPage);
  EXPECT_EQ(nullptr, Stack::used_up());
  use(stack, 15 * kPage + 1);
  EXPECT_EQ(&stack, Stack::used_up());
}

TEST(Stack, SaysThatThereIsNoRoom) {
  EXPECT_THROW(Stack(std::size_t{1} << 60), std::bad_alloc);
  EXPECT_THROW(Stack(SIZE_MAX - 2 * kPage), std::bad_alloc);
  EXPECT_THROW(Stack(SIZE_MAX), std::bad_alloc);
}

const Stack* overrun = nullptr;

void on_fault(int, siginfo_t* info, void*) {
  // AddressSanitizer asks the kernel about this thread as the process ends on the alternate stack.
  const suspend::ThreadBlock::OnKernelThread here_runs(Fiber::current()->thread());
  const char* said = overrun->guards(info->si_addr) ? "hit the guard\n" : "hit something else\n";
  (void)!write(STDERR_FILENO, said, std::strlen(said));
  _exit(3);
}

[[gnu::noinline]] int dive(int depth) {
  volatile char frame[512];
  frame[0] = static_cast<char>(depth);
  return depth == 0 ? 0 : dive(depth - 1) + frame[0];
}

void overrun_a_fiber(Fiber::Task task) {
  static char alternate[64 * 1024];
  stack_t signal_stack{};
  signal_stack.ss_sp = alternate;
  signal_stack.ss_size = sizeof alternate;
  sigaltstack(&signal_stack, nullptr);
  struct sigaction action {};
  action.sa_sigaction = &on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr);

  BareObserver silent;
  Fiber fiber(64 * 1024, silent);
  overrun = &fiber.stack();
  fiber.start(task, nullptr);
}

// A frame of more than a page must not step over the guard into the next stack.
[[gnu::noinline]] int stride(int depth) {
  volatile char frame[9 * 4096];
  frame[0] = static_cast<char>(depth);
  return depth == 0 ? 0 : stride(depth - 1) + frame[0];
}

TEST(StackDeathTest, StopsAFiberThatOverrunsAtTheGuard) {
  EXPECT_EXIT(overrun_a_fiber([](void*) noexcept { dive(1 << 20); }), ::testing::ExitedWithCode(3),
              "hit the guard");
  EXPECT_EXIT(overrun_a_fiber([](void*) noexcept { stride(1 << 10); }), ::testing::ExitedWithCode(3),
              "hit the guard");
}

}  // namespace
}  // namespace suspend
