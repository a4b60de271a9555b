// sendfile keeps its manual page on a fiber.
#include <numeric>

#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

class SendfileTest : public BothWorldsTest {
 protected:
  SendfileTest() {
    for (std::size_t i = 0; i < content_.size(); ++i) content_[i] = static_cast<char>(i * 7 + i / 251);
    EXPECT_EQ(content_.size(), fwrite(content_.data(), 1, content_.size(), stream_));
    fflush(stream_);
    lseek(file_, 0, SEEK_SET);
    std::signal(SIGPIPE, SIG_IGN);
  }
  ~SendfileTest() override { fclose(stream_); }

  // Reads from `fd` on a body of its own until the sender, here, closes its end.
  void spawn_reader(int fd) {
    spawn([this, fd] {
      char part[8192];
      ssize_t got;
      while ((got = calls().read(fd, part, sizeof part)) > 0)
        received_.append(part, static_cast<std::size_t>(got));
    });
  }
  std::string from(std::size_t begin, std::size_t size) const { return content_.substr(begin, size); }

  std::string content_ = std::string(3 << 20, ' ');
  std::FILE* const stream_ = std::tmpfile();
  const int file_ = fileno(stream_);
  std::string received_;
};
INSTANTIATE_IN_BOTH_WORLDS(SendfileTest);

TEST_P(SendfileTest, ToASocketSendsAllAndMovesTheFilesPosition) {
  Pair ends = socket_pair();
  lseek(file_, 1000, SEEK_SET);
  spawn([&] {
    EXPECT_EQ(gives(2 << 20),
              outcome_of([&] { return calls().sendfile(ends.a.get(), file_, nullptr, 2 << 20); }));
    EXPECT_EQ(1000 + (2 << 20), lseek(file_, 0, SEEK_CUR));
    ends.a.close();
  });
  spawn_reader(ends.b.get());
  run();
  EXPECT_TRUE(received_ == from(1000, 2 << 20));
}

TEST_P(SendfileTest, ToASocketMovesTheOffsetAndNotThePosition) {
  Pair ends = tcp_pair();
  spawn([&] {
    off_t offset = 5000;
    EXPECT_EQ(gives(2 << 20),
              outcome_of([&] { return calls().sendfile(ends.a.get(), file_, &offset, 2 << 20); }));
    EXPECT_EQ(5000 + (2 << 20), offset);
    EXPECT_EQ(0, lseek(file_, 0, SEEK_CUR));
    ends.a.close();
  });
  spawn_reader(ends.b.get());
  run();
  EXPECT_TRUE(received_ == from(5000, 2 << 20));
}

TEST_P(SendfileTest, ToAPipeSendsAll) {
  Pair ends = make_pipe();
  spawn([&] {
    std::size_t total = 0;
    while (total < content_.size()) {
      const ssize_t sent = calls().sendfile(ends.b.get(), file_, nullptr, content_.size() - total);
      ASSERT_GT(sent, 0);
      total += static_cast<std::size_t>(sent);
    }
    ends.b.close();
  });
  spawn_reader(ends.a.get());
  run();
  EXPECT_TRUE(received_ == content_);
}

TEST_P(SendfileTest, EndsWithTheFile) {
  Pair ends = socket_pair();
  spawn([&] {
    off_t offset = static_cast<off_t>(content_.size()) - 10;
    EXPECT_EQ(gives(10), outcome_of([&] { return calls().sendfile(ends.a.get(), file_, &offset, 1000); }));
    EXPECT_EQ(gives(0), outcome_of([&] { return calls().sendfile(ends.a.get(), file_, &offset, 1000); }));
    EXPECT_EQ(gives(0), outcome_of([&] { return calls().sendfile(ends.a.get(), file_, nullptr, 0); }));
  });
  run();
}

TEST_P(SendfileTest, GivesWhatWasSentBeforeTheSocketTimeout) {
  Pair ends = socket_pair();
  set_timeout(ends.a.get(), SO_SNDTIMEO, 20000);
  spawn([&] {
    const ssize_t sent = calls().sendfile(ends.a.get(), file_, nullptr, content_.size());
    EXPECT_GT(sent, 0);
    EXPECT_LT(sent, static_cast<ssize_t>(content_.size()));
    EXPECT_EQ(sent, lseek(file_, 0, SEEK_CUR));
    EXPECT_EQ(fails_with(EAGAIN),
              outcome_of([&] { return calls().sendfile(ends.a.get(), file_, nullptr, 1); }));
  });
  run();
}

TEST_P(SendfileTest, KeepsItsErrors) {
  Pair ends = socket_pair();
  Pair pipe = make_pipe();
  Fd write_only(open(("/proc/self/fd/" + std::to_string(file_)).c_str(), O_WRONLY));
  spawn([&] {
    const int to = ends.a.get();
    off_t offset = 0;
    EXPECT_EQ(fails_with(EBADF), outcome_of([&] { return calls().sendfile(to, -1, nullptr, 10); }));
    EXPECT_EQ(fails_with(EBADF), outcome_of([&] { return calls().sendfile(-1, file_, nullptr, 10); }));
    EXPECT_EQ(fails_with(EBADF),
              outcome_of([&] { return calls().sendfile(to, write_only.get(), nullptr, 10); }));
    EXPECT_EQ(fails_with(EINVAL),
              outcome_of([&] { return calls().sendfile(to, ends.b.get(), nullptr, 10); }));
    EXPECT_EQ(fails_with(ESPIPE),
              outcome_of([&] { return calls().sendfile(to, pipe.a.get(), &offset, 10); }));
    ends.b.close();
    EXPECT_EQ(fails_with(EPIPE), outcome_of([&] { return calls().sendfile(to, file_, nullptr, 10); }));
    EXPECT_EQ(0, lseek(file_, 0, SEEK_CUR));
  });
  run();
}

TEST_P(SendfileTest, NeverMakesItsTargetNonBlockingForOthers) {
  Pair ends = socket_pair();
  SeenByOthers seen(ends.a);
  spawn([&] {
    for (int i = 0; i < 50; ++i) {
      off_t offset = 0;
      EXPECT_EQ(100000, calls().sendfile(ends.a.get(), file_, &offset, 100000));
    }
    ends.a.close();
    EXPECT_FALSE(seen.as_nonblocking());
  });
  spawn_reader(ends.b.get());
  run();
  EXPECT_EQ(5000000u, received_.size());
}

}  // namespace
}  // namespace unit
