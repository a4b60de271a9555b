// read and write on what is no socket: pipes, regular files, event descriptors.
#include <limits.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>

#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

class PipeTest : public BothWorldsTest {
 protected:
  Outcome read(std::size_t size = 16) {
    return outcome_of([&] { return calls().read(pipe_.a.get(), buffer_, size); });
  }
  Outcome write(const std::string& bytes) {
    return outcome_of([&] { return calls().write(pipe_.b.get(), bytes.data(), bytes.size()); });
  }
  char buffer_[65536] = {};
  Pair pipe_ = make_pipe();
};
INSTANTIATE_IN_BOTH_WORLDS(PipeTest);

TEST_P(PipeTest, ReadWaitsForData) {
  spawn([&] { EXPECT_EQ(gives(4), read()); });
  spawn([&] { EXPECT_EQ(gives(4), write("pipe")); });
  run();
  EXPECT_STREQ("pipe", buffer_);
}

TEST_P(PipeTest, ReadGivesNothingOnceTheWriterLeft) {
  spawn([&] { EXPECT_EQ(gives(0), read()); });
  pipe_.b.close();
  run();
}

TEST_P(PipeTest, ReadSaysEagainWhereAskedNotToWait) {
  make_nonblocking(pipe_.a.get());
  spawn([&] { EXPECT_EQ(fails_with(EAGAIN), read()); });
  run();
}

TEST_P(PipeTest, WriteReturnsOnceASlowReaderTookAlmostAll) {
  const std::string sent(1000000, 'p');
  spawn([&] { EXPECT_EQ(gives(sent.size()), write(sent)); });
  spawn([&] {
    for (std::size_t total = 0; total < sent.size();) {
      const ssize_t got = read(10000).result;
      ASSERT_GT(got, 0);
      total += static_cast<std::size_t>(got);
      calls().usleep(0);
    }
  });
  run();
}

TEST_P(PipeTest, WritevReturnsOnceASlowReaderTookAlmostAll) {
  std::string first(300000, '1'), second(200001, '2'), received;
  spawn([&] {
    const iovec parts[] = {{first.data(), first.size()}, {second.data(), second.size()}};
    EXPECT_EQ(gives(500001), outcome_of([&] { return calls().writev(pipe_.b.get(), parts, 2); }));
  });
  spawn([&] {
    while (received.size() < 500001) {
      const ssize_t got = read(60000).result;
      ASSERT_GT(got, 0);
      received.append(buffer_, static_cast<std::size_t>(got));
    }
  });
  run();
  EXPECT_EQ(first + second, received);
}

// pipe(7): a write of PIPE_BUF bytes is not mixed with another's.
TEST_P(PipeTest, WriteOfUpToPipeBufIsWhole) {
  constexpr int kEach = 200;
  for (const char mark : {'a', 'b', 'c'}) {
    spawn([&, mark] {
      for (int i = 0; i < kEach; ++i) EXPECT_EQ(gives(PIPE_BUF), write(std::string(PIPE_BUF, mark)));
    });
  }
  std::string received;
  spawn([&] {
    while (received.size() < 3u * kEach * PIPE_BUF) {
      const ssize_t got = read(1000).result;
      ASSERT_GT(got, 0);
      received.append(buffer_, static_cast<std::size_t>(got));
    }
  });
  run();
  for (std::size_t at = 0; at < received.size(); at += PIPE_BUF) {
    ASSERT_EQ(std::string(PIPE_BUF, received[at]), received.substr(at, PIPE_BUF));
  }
}

TEST_P(PipeTest, WriteTakesAPartWhereAskedNotToWait) {
  make_nonblocking(pipe_.b.get());
  spawn([&] {
    EXPECT_EQ(gives(65536), write(std::string(1000000, 'p')));
    EXPECT_EQ(fails_with(EAGAIN), write("x"));
  });
  run();
}

// A pipe counts its pages when polled, but the last page may still have room.
TEST_P(PipeTest, WriteUsesTheRoomOfTheLastPageWhereAskedNotToWait) {
  make_nonblocking(pipe_.b.get());
  for (int page = 0; page < 15; ++page) ASSERT_EQ(gives(4096), write(std::string(4096, 'p')));
  ASSERT_EQ(gives(100), write(std::string(100, 'p')));
  spawn([&] { EXPECT_EQ(gives(1), write("x")); });
  run();
}

TEST_P(PipeTest, WriteSaysBrokenPipeOnceTheReaderLeft) {
  const auto old_handler = std::signal(SIGPIPE, SIG_IGN);
  fill(pipe_.b.get());
  spawn([&] { EXPECT_EQ(fails_with(EPIPE), write("x")); });
  pipe_.a.close();
  run();
  std::signal(SIGPIPE, old_handler);
}

TEST_P(PipeTest, TheWrongEndSaysBadDescriptor) {
  spawn([&] {
    char byte = 0;
    iovec part{&byte, 1};
    EXPECT_EQ(fails_with(EBADF), outcome_of([&] { return calls().read(pipe_.b.get(), &byte, 1); }));
    EXPECT_EQ(fails_with(EBADF), outcome_of([&] { return calls().readv(pipe_.b.get(), &part, 1); }));
    EXPECT_EQ(fails_with(EBADF), outcome_of([&] { return calls().write(pipe_.a.get(), &byte, 1); }));
    EXPECT_EQ(fails_with(EBADF), outcome_of([&] { return calls().writev(pipe_.a.get(), &part, 1); }));
  });
  run();
}

class FileTest : public BothWorldsTest {};
INSTANTIATE_IN_BOTH_WORLDS(FileTest);

TEST_P(FileTest, NeverWaits) {
  Fd file(memfd_create("file", MFD_CLOEXEC));
  const std::vector<char> bytes(1 << 20, 'x');
  std::vector<char> back(bytes.size() + 1);
  spawn([&] {
    iovec parts[] = {{back.data(), 10}, {back.data() + 10, 20}};
    EXPECT_EQ(gives(bytes.size()),
              outcome_of([&] { return calls().write(file.get(), bytes.data(), bytes.size()); }));
    EXPECT_EQ(gives(0), outcome_of([&] { return calls().read(file.get(), back.data(), 10); }));
    EXPECT_EQ(gives(30), outcome_of([&] { return calls().writev(file.get(), parts, 2); }));
    lseek(file.get(), 30, SEEK_SET);
    EXPECT_EQ(gives(bytes.size()),
              outcome_of([&] { return calls().read(file.get(), back.data(), back.size()); }));
    lseek(file.get(), 0, SEEK_SET);
    EXPECT_EQ(gives(30), outcome_of([&] { return calls().readv(file.get(), parts, 2); }));
  });
  run();
  EXPECT_EQ(0u, suspensions());
}

TEST_P(FileTest, OfADirectoryKeepsItsError) {
  Fd folder(open("/", O_RDONLY | O_DIRECTORY));
  spawn([&] {
    char byte;
    EXPECT_EQ(fails_with(EISDIR), outcome_of([&] { return calls().read(folder.get(), &byte, 1); }));
  });
  run();
}

TEST_P(FileTest, ReadWaitsForAnEvent) {
  Fd event(eventfd(0, EFD_CLOEXEC));
  const std::uint64_t seven = 7;
  std::uint64_t got = 0;
  spawn([&] { EXPECT_EQ(gives(8), outcome_of([&] { return calls().read(event.get(), &got, 8); })); });
  spawn([&] { EXPECT_EQ(8, calls().write(event.get(), &seven, 8)); });
  run();
  EXPECT_EQ(7u, got);
}

TEST_P(FileTest, ReadWaitsForATimer) {
  Fd timer(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  const itimerspec soon{{0, 0}, {0, 5000000}};
  ASSERT_EQ(0, timerfd_settime(timer.get(), 0, &soon, nullptr));
  spawn([&] {
    std::uint64_t ticks = 0;
    EXPECT_EQ(8, calls().read(timer.get(), &ticks, 8));
    EXPECT_EQ(1u, ticks);
  });
  run();
}

}  // namespace
}  // namespace unit
