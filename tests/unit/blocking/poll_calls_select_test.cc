// select and pselect keep their manual pages on a fiber.
#include <sys/mman.h>

#include <fstream>
#include <limits>

#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

class SelectTest : public BothWorldsTest {
 protected:
  // fd_set for any descriptor.
  class Set {
   public:
    explicit Set(int limit) : words_(static_cast<std::size_t>(limit) / NFDBITS + 1) {}
    Set& add(int fd) {
      words_[static_cast<std::size_t>(fd / NFDBITS)] |= bit(fd);
      return *this;
    }
    bool has(int fd) const { return (words_[static_cast<std::size_t>(fd / NFDBITS)] & bit(fd)) != 0; }
    fd_set* get() { return reinterpret_cast<fd_set*>(words_.data()); }

   private:
    static fd_mask bit(int fd) { return static_cast<fd_mask>(1UL << (fd % NFDBITS)); }
    std::vector<fd_mask> words_;
  };
  Pair ends_ = tcp_pair();
  const int a_ = ends_.a.get();
};
INSTANTIATE_IN_BOTH_WORLDS(SelectTest);

TEST_P(SelectTest, WaitsAndLeavesWhatIsReady) {
  Pair idle = make_pipe();
  Set read(1000);
  read.add(a_).add(idle.a.get());
  spawn([&] {
    EXPECT_EQ(gives(1),
              outcome_of([&] { return calls().select(1000, read.get(), nullptr, nullptr, nullptr); }));
  });
  ASSERT_EQ(1, write(ends_.b.get(), "x", 1));
  run();
  EXPECT_TRUE(read.has(a_));
  EXPECT_FALSE(read.has(idle.a.get()));
}

TEST_P(SelectTest, WaitsToWrite) {
  fill(a_);
  Set write(1000);
  write.add(a_);
  spawn([&] { EXPECT_EQ(1, calls().select(a_ + 1, nullptr, write.get(), nullptr, nullptr)); });
  spawn([&] {
    std::vector<char> sink(8 << 20);
    while (calls().recv(ends_.b.get(), sink.data(), sink.size(), MSG_DONTWAIT) > 0) continue;
  });
  run();
}

TEST_P(SelectTest, WaitsForUrgentData) {
  Set except(1000), read(1000);
  except.add(a_);
  read.add(a_);
  spawn([&] { EXPECT_EQ(1, calls().select(a_ + 1, read.get(), nullptr, except.get(), nullptr)); });
  ASSERT_EQ(1, send(ends_.b.get(), "!", 1, MSG_OOB));
  run();
  EXPECT_TRUE(except.has(a_));
  EXPECT_FALSE(read.has(a_));
}

TEST_P(SelectTest, TakesSetsLargerThanFdSet) {
  Fd high(fcntl(a_, F_DUPFD, 3000));
  ASSERT_GE(high.get(), 3000);
  Set read(4000);
  read.add(high.get());
  spawn([&] { EXPECT_EQ(1, calls().select(high.get() + 1, read.get(), nullptr, nullptr, nullptr)); });
  ASSERT_EQ(1, write(ends_.b.get(), "x", 1));
  run();
  EXPECT_TRUE(read.has(high.get()));
}

TEST_P(SelectTest, SaysHowMuchTimeWasLeft) {
  Set read(1000);
  read.add(a_);
  timeval timeout{20, 0};
  spawn([&] { EXPECT_EQ(1, calls().select(a_ + 1, read.get(), nullptr, nullptr, &timeout)); });
  spawn([&] {
    calls().usleep(20000);
    EXPECT_EQ(1, calls().write(ends_.b.get(), "x", 1));
  });
  run();
  const double left_s = static_cast<double>(timeout.tv_sec) + static_cast<double>(timeout.tv_usec) * 1e-6;
  EXPECT_LT(left_s, 19.99);
  EXPECT_GT(left_s, 15);
}

TEST_P(SelectTest, KeepsItsTimeout) {
  Set read(1000);
  read.add(a_);
  timeval timeout{0, 20500};
  spawn([&] {
    const Stopwatch watch;
    EXPECT_EQ(gives(0),
              outcome_of([&] { return calls().select(a_ + 1, read.get(), nullptr, nullptr, &timeout); }));
    EXPECT_GE(watch.seconds(), 0.0205);
    EXPECT_LT(watch.seconds(), 2);
  });
  run();
  EXPECT_FALSE(read.has(a_));
  EXPECT_EQ(0, timeout.tv_sec);
  EXPECT_EQ(0, timeout.tv_usec);
}

TEST_P(SelectTest, OfNothingSleeps) {
  spawn([&] {
    timeval timeout{0, 700};
    const Stopwatch watch;
    EXPECT_EQ(0, calls().select(0, nullptr, nullptr, nullptr, &timeout));
    EXPECT_GE(watch.seconds(), 0.0007);
  });
  run();
}

TEST_P(SelectTest, RefusesWhatIsInvalid) {
  Set read(1000);
  const int closed = dup(a_);
  close(closed);
  read.add(closed);
  timeval negative{-1, 0};
  const timespec too_many_ns{0, 1000000000};
  const timespec negative_ns{0, -1};
  const auto select = [&](int count, fd_set* set, timeval* timeout) {
    return outcome_of([&] { return calls().select(count, set, nullptr, nullptr, timeout); });
  };
  const auto pselect = [&](const timespec* timeout) {
    return outcome_of([&] { return calls().pselect(0, nullptr, nullptr, nullptr, timeout, nullptr); });
  };
  spawn([&] {
    EXPECT_EQ(fails_with(EBADF), select(closed + 1, read.get(), nullptr));
    EXPECT_EQ(fails_with(EINVAL), select(-1, nullptr, nullptr));
    EXPECT_EQ(fails_with(EINVAL), select(0, nullptr, &negative));
    EXPECT_EQ(fails_with(EINVAL), pselect(&too_many_ns));
    EXPECT_EQ(fails_with(EINVAL), pselect(&negative_ns));
  });
  run();
}

TEST_P(SelectTest, PselectLeavesItsTimeoutAlone) {
  Set read(1000);
  read.add(a_);
  timespec timeout{0, 400000};
  spawn([&] {
    const Stopwatch watch;
    EXPECT_EQ(gives(0), outcome_of([&] {
                return calls().pselect(a_ + 1, read.get(), nullptr, nullptr, &timeout, nullptr);
              }));
    EXPECT_GE(watch.seconds(), 0.0004);
  });
  run();
  EXPECT_EQ(400000, timeout.tv_nsec);
}

// poll always tells of a hang-up; select has no set for it alone.
TEST_P(SelectTest, ForUrgentDataSleepsOverAHangUp) {
  Pair ends = socket_pair();
  ends.b.close();
  Set except(1000);
  except.add(ends.a.get());
  spawn([&] {
    timeval timeout{0, 50000};
    EXPECT_EQ(0, calls().select(ends.a.get() + 1, nullptr, nullptr, except.get(), &timeout));
  });
  run();
  EXPECT_LT(suspensions(), 100u);
}

// How many bits of a set the kernel looks at; the table never shrinks.
std::size_t descriptor_table_size() {
  std::ifstream status("/proc/self/status");
  std::string word;
  std::size_t size = 0;
  while (status >> word && word != "FDSize:") continue;
  status >> size;
  return size;
}

// The kernel looks no further than the process has descriptors; nor may anybody else.
TEST_P(SelectTest, TakesMoreDescriptorsThanItsSetsHave) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t set_size = (descriptor_table_size() / 8 / page + 1) * page;
  void* const memory =
      mmap(nullptr, set_size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(MAP_FAILED, memory);
  ASSERT_EQ(0, mprotect(static_cast<char*>(memory) + set_size, page, PROT_NONE));
  auto* const set = static_cast<fd_set*>(memory);
  FD_SET(a_, set);
  spawn([&] {
    EXPECT_EQ(gives(1), outcome_of([&] {
                return calls().select(std::numeric_limits<int>::max(), set, nullptr, nullptr, nullptr);
              }));
  });
  ASSERT_EQ(1, write(ends_.b.get(), "x", 1));
  run();
  EXPECT_TRUE(FD_ISSET(a_, set));
  munmap(memory, set_size + page);
}

}  // namespace
}  // namespace unit
