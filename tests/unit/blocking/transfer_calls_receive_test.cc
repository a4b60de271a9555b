// recv, recvfrom, recvmsg, read and readv keep their manual pages on a fiber.
#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

struct Receiver {
  const char* name;
  ssize_t (*receive)(int fd, void* buffer, std::size_t size);
};

const Receiver kReceivers[] = {
    {"recv", [](int fd, void* buffer, std::size_t size) { return calls().recv(fd, buffer, size, 0); }},
    {"recvfrom", [](int fd, void* buffer,
                    std::size_t size) { return calls().recvfrom(fd, buffer, size, 0, nullptr, nullptr); }},
    {"recvmsg",
     [](int fd, void* buffer, std::size_t size) {
       iovec part{buffer, size};
       msghdr message{};
       message.msg_iov = &part;
       message.msg_iovlen = 1;
       return calls().recvmsg(fd, &message, 0);
     }},
    {"read", [](int fd, void* buffer, std::size_t size) { return calls().read(fd, buffer, size); }},
    {"readv",
     [](int fd, void* buffer, std::size_t size) {
       iovec part{buffer, size};
       return calls().readv(fd, &part, 1);
     }},
};

class ReceiveTest : public WorldTest, public ::testing::WithParamInterface<std::tuple<World, Receiver>> {
 protected:
  ReceiveTest() : WorldTest(std::get<0>(GetParam())) {}

  Outcome receive(int fd, std::size_t size = 16) {
    return outcome_of([&] { return std::get<1>(GetParam()).receive(fd, buffer_, size); });
  }

  char buffer_[64] = {};
  Pair ends_ = socket_pair();
};

INSTANTIATE_TEST_SUITE_P(Calls, ReceiveTest,
                         ::testing::Combine(::testing::Values(World::kThreads, World::kFibers),
                                            ::testing::ValuesIn(kReceivers)),
                         [](const auto& test) {
                           return name_of(std::get<0>(test.param)) + "_" + std::get<1>(test.param).name;
                         });

TEST_P(ReceiveTest, TakesWhatIsThereWithoutWaiting) {
  ASSERT_EQ(5, write(ends_.b.get(), "hello", 5));
  spawn([&] { EXPECT_EQ(gives(5), receive(ends_.a.get())); });
  run();
  EXPECT_STREQ("hello", buffer_);
  EXPECT_EQ(0u, suspensions());
}

TEST_P(ReceiveTest, WaitsForData) {
  spawn([&] { EXPECT_EQ(gives(5), receive(ends_.a.get())); });
  if (on_fibers()) {
    EXPECT_EQ(1u, running());
  }
  spawn([&] { EXPECT_EQ(5, calls().write(ends_.b.get(), "hello", 5)); });
  run();
  EXPECT_STREQ("hello", buffer_);
}

TEST_P(ReceiveTest, GivesNothingAtTheEnd) {
  spawn([&] { EXPECT_EQ(gives(0), receive(ends_.a.get())); });
  ends_.b.close();
  run();
}

TEST_P(ReceiveTest, NeverWaitsWhereAskedNotTo) {
  make_nonblocking(ends_.a.get());
  spawn([&] { EXPECT_EQ(fails_with(EAGAIN), receive(ends_.a.get())); });
  run();
  EXPECT_EQ(0u, suspensions());
}

TEST_P(ReceiveTest, KeepsTheSocketTimeout) {
  set_timeout(ends_.a.get(), SO_RCVTIMEO, 30000);
  spawn([&] {
    const Stopwatch watch;
    EXPECT_EQ(fails_with(EAGAIN), receive(ends_.a.get()));
    EXPECT_GE(watch.seconds(), 0.029);
    EXPECT_LT(watch.seconds(), 3);
  });
  run();
}

TEST_P(ReceiveTest, KeepsASocketTimeoutBelowAMillisecond) {
  set_timeout(ends_.a.get(), SO_RCVTIMEO, 300);
  spawn([&] {
    const Stopwatch watch;
    EXPECT_EQ(fails_with(EAGAIN), receive(ends_.a.get()));
    EXPECT_GE(watch.seconds(), 0.0003);
    EXPECT_LT(watch.seconds(), 1);
  });
  run();
}

TEST_P(ReceiveTest, SaysBadDescriptor) {
  const int closed = dup(ends_.a.get());
  close(closed);
  spawn([&, closed] {
    EXPECT_EQ(fails_with(EBADF), receive(closed));
    EXPECT_EQ(fails_with(EBADF), receive(-1));
  });
  run();
}

TEST_P(ReceiveTest, TakesOneDatagramOfSeveral) {
  Pair datagrams = socket_pair(SOCK_DGRAM);
  spawn([&] {
    EXPECT_EQ(gives(3), receive(datagrams.a.get()));
    EXPECT_EQ(gives(2), receive(datagrams.a.get()));
  });
  spawn([&] {
    EXPECT_EQ(3, calls().write(datagrams.b.get(), "one", 3));
    EXPECT_EQ(2, calls().write(datagrams.b.get(), "22", 2));
  });
  run();
}

TEST_P(ReceiveTest, LeavesTheRestToTheSecondOfTwoReaders) {
  for (int i = 0; i < 2; ++i) {
    spawn([&] {
      char own[4] = {};
      EXPECT_EQ(gives(4), outcome_of([&] { return std::get<1>(GetParam()).receive(ends_.a.get(), own, 4); }));
      EXPECT_EQ(0, std::memcmp(own, "data", 4));
    });
  }
  ASSERT_EQ(4, write(ends_.b.get(), "data", 4));
  if (on_fibers()) {
    run_until_running(1);
  }
  ASSERT_EQ(4, write(ends_.b.get(), "data", 4));
  run();
}

// One end is read and written at once.
TEST_P(ReceiveTest, DoesNotDisturbAWriterOfTheSameDescriptor) {
  fill(ends_.a.get());
  spawn([&] { EXPECT_EQ(gives(2), receive(ends_.a.get())); });
  spawn([&] { EXPECT_EQ(1, calls().send(ends_.a.get(), "w", 1, 0)); });
  if (on_fibers()) {
    EXPECT_EQ(2u, running());
  }
  spawn([&] {
    EXPECT_EQ(2, calls().write(ends_.b.get(), "ok", 2));
    std::vector<char> sink(1 << 20);
    // The writer's byte may come with what was there before it.
    ssize_t got;
    do {
      got = calls().recv(ends_.b.get(), sink.data(), sink.size(), 0);
    } while (got > 0 && sink[static_cast<std::size_t>(got) - 1] != 'w');
  });
  run();
}

}  // namespace
}  // namespace unit
