// send, sendto, sendmsg, write and writev on sockets keep their manual pages on a fiber.
#include <atomic>

#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

constexpr std::size_t kLarge = 10 << 20;

// In two parts, where the call takes several.
msghdr message_of(iovec (&parts)[2], const char* bytes, std::size_t size) {
  parts[0] = {const_cast<char*>(bytes), size / 3};
  parts[1] = {const_cast<char*>(bytes) + size / 3, size - size / 3};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  return message;
}

struct Sender {
  const char* name;
  ssize_t (*send)(int fd, const char* bytes, std::size_t size);
};

const Sender kSenders[] = {
    {"send", [](int fd, const char* bytes, std::size_t size) { return calls().send(fd, bytes, size, 0); }},
    {"sendto", [](int fd, const char* bytes,
                  std::size_t size) { return calls().sendto(fd, bytes, size, 0, nullptr, 0); }},
    {"sendmsg",
     [](int fd, const char* bytes, std::size_t size) {
       iovec parts[2];
       const msghdr message = message_of(parts, bytes, size);
       return calls().sendmsg(fd, &message, 0);
     }},
    {"write", [](int fd, const char* bytes, std::size_t size) { return calls().write(fd, bytes, size); }},
    {"writev",
     [](int fd, const char* bytes, std::size_t size) {
       iovec parts[2];
       message_of(parts, bytes, size);
       return calls().writev(fd, parts, 2);
     }},
};

std::vector<char> pattern(std::size_t size) {
  std::vector<char> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 7 + i / 251);
  return bytes;
}

class SendTest : public WorldTest, public ::testing::WithParamInterface<std::tuple<World, Sender>> {
 protected:
  SendTest() : WorldTest(std::get<0>(GetParam())) {}

  void SetUp() override {
    WorldTest::SetUp();
    old_handler_ = std::signal(SIGPIPE, [](int) { ++broken_pipes_; });
    broken_pipes_ = 0;
  }
  void TearDown() override {
    WorldTest::TearDown();
    std::signal(SIGPIPE, old_handler_);
  }

  Outcome send(int fd, const std::vector<char>& bytes) {
    return outcome_of([&] { return std::get<1>(GetParam()).send(fd, bytes.data(), bytes.size()); });
  }

  Pair ends_ = socket_pair();
  static inline std::atomic<int> broken_pipes_{0};

 private:
  void (*old_handler_)(int) = SIG_DFL;
};

INSTANTIATE_TEST_SUITE_P(Calls, SendTest,
                         ::testing::Combine(::testing::Values(World::kThreads, World::kFibers),
                                            ::testing::ValuesIn(kSenders)),
                         [](const auto& test) {
                           return name_of(std::get<0>(test.param)) + "_" + std::get<1>(test.param).name;
                         });

TEST_P(SendTest, DoesNotWaitWhereThereIsRoom) {
  spawn([&] { EXPECT_EQ(gives(100), send(ends_.a.get(), pattern(100))); });
  run();
  EXPECT_EQ(0u, suspensions());
}

TEST_P(SendTest, ReturnsOnceASlowReaderHasRoomForAll) {
  const std::vector<char> sent = pattern(kLarge);
  std::vector<char> received(kLarge);
  spawn([&] { EXPECT_EQ(gives(kLarge), send(ends_.a.get(), sent)); });
  spawn([&] {
    std::size_t total = 0;
    while (total < kLarge) {
      const ssize_t got = calls().recv(ends_.b.get(), received.data() + total, 200000, 0);
      ASSERT_GT(got, 0);
      total += static_cast<std::size_t>(got);
      calls().usleep(0);
    }
  });
  run();
  EXPECT_TRUE(sent == received);
}

TEST_P(SendTest, SendsAllWhereItMayNotSuspend) {
  const std::vector<char> sent = pattern(kLarge);
  std::vector<char> received(kLarge);
  gate_.open = false;
  std::thread reader([&] {
    std::size_t total = 0;
    while (total < kLarge) {
      const ssize_t got = ::recv(ends_.b.get(), received.data() + total, 200000, 0);
      ASSERT_GT(got, 0);
      total += static_cast<std::size_t>(got);
    }
  });
  spawn([&] { EXPECT_EQ(gives(kLarge), send(ends_.a.get(), sent)); });
  reader.join();
  run();
  EXPECT_TRUE(sent == received);
  EXPECT_EQ(0u, suspensions());
}

TEST_P(SendTest, TakesAPartWhereAskedNotToWait) {
  make_nonblocking(ends_.a.get());
  spawn([&] {
    const ssize_t sent = send(ends_.a.get(), pattern(kLarge)).result;
    EXPECT_GT(sent, 0);
    EXPECT_LT(sent, static_cast<ssize_t>(kLarge));
    fill(ends_.a.get());
    EXPECT_EQ(fails_with(EAGAIN), send(ends_.a.get(), pattern(100)));
  });
  run();
  EXPECT_EQ(0u, suspensions());
}

TEST_P(SendTest, KeepsTheSocketTimeout) {
  set_timeout(ends_.a.get(), SO_SNDTIMEO, 30000);
  fill(ends_.a.get());
  spawn([&] {
    const Stopwatch watch;
    EXPECT_EQ(fails_with(EAGAIN), send(ends_.a.get(), pattern(100)));
    EXPECT_GE(watch.seconds(), 0.029);
    EXPECT_LT(watch.seconds(), 3);
  });
  run();
}

TEST_P(SendTest, SaysAtTheTimeoutHowMuchWentOut) {
  set_timeout(ends_.a.get(), SO_SNDTIMEO, 20000);
  spawn([&] {
    const ssize_t sent = send(ends_.a.get(), pattern(kLarge)).result;
    EXPECT_GT(sent, 0);
    EXPECT_LT(sent, static_cast<ssize_t>(kLarge));
  });
  run();
}

TEST_P(SendTest, SaysBrokenPipe) {
  ends_.b.close();
  spawn([&] { EXPECT_EQ(fails_with(EPIPE), send(ends_.a.get(), pattern(100))); });
  run();
  EXPECT_EQ(1, broken_pipes_);
}

// The signal is for a call that sent nothing.
TEST_P(SendTest, CountsWhatWentOutBeforeThePeerLeft) {
  spawn([&] {
    const ssize_t sent = send(ends_.a.get(), pattern(kLarge)).result;
    EXPECT_GT(sent, 0);
    EXPECT_LT(sent, static_cast<ssize_t>(kLarge));
  });
  spawn([&] {
    std::vector<char> some(300000);
    ASSERT_GT(calls().recv(ends_.b.get(), some.data(), some.size(), MSG_WAITALL), 0);
    shutdown(ends_.b.get(), SHUT_RDWR);
  });
  run();
  EXPECT_EQ(0, broken_pipes_);
}

TEST_P(SendTest, SaysBadDescriptor) {
  const int closed = dup(ends_.a.get());
  close(closed);
  spawn([&, closed] {
    EXPECT_EQ(fails_with(EBADF), send(closed, pattern(10)));
    EXPECT_EQ(fails_with(EBADF), send(-1, pattern(10)));
  });
  run();
}

TEST_P(SendTest, KeepsTheBytesOfTwoSendersWhole) {
  Pair messages = socket_pair(SOCK_SEQPACKET);
  constexpr int kEach = 300;
  for (const char mark : {'a', 'b'}) {
    spawn([&, mark] {
      const std::vector<char> bytes(2000, mark);
      for (int i = 0; i < kEach; ++i) EXPECT_EQ(gives(2000), send(messages.a.get(), bytes));
    });
  }
  int seen[2] = {};
  spawn([&] {
    std::vector<char> bytes(4000);
    for (int i = 0; i < 2 * kEach; ++i) {
      ASSERT_EQ(2000, calls().recv(messages.b.get(), bytes.data(), bytes.size(), 0));
      EXPECT_EQ(2000, std::count(bytes.begin(), bytes.begin() + 2000, bytes[0]));
      ++seen[bytes[0] - 'a'];
    }
  });
  run();
  EXPECT_EQ(kEach, seen[0]);
  EXPECT_EQ(kEach, seen[1]);
}

class SendFlagsTest : public BothWorldsTest {};
INSTANTIATE_IN_BOTH_WORLDS(SendFlagsTest);

TEST_P(SendFlagsTest, WithDontWaitSaysEagain) {
  Pair ends = socket_pair();
  fill(ends.a.get());
  spawn([&] {
    EXPECT_EQ(fails_with(EAGAIN),
              outcome_of([&] { return calls().send(ends.a.get(), "x", 1, MSG_DONTWAIT); }));
  });
  run();
}

TEST_P(SendFlagsTest, SendsAnEmptyDatagram) {
  Pair ends = socket_pair(SOCK_DGRAM);
  spawn([&] {
    EXPECT_EQ(gives(0), outcome_of([&] { return calls().send(ends.a.get(), "", 0, 0); }));
    char byte;
    EXPECT_EQ(0, calls().recv(ends.b.get(), &byte, 1, 0));
  });
  run();
}

TEST_P(SendFlagsTest, SaysThatADatagramIsTooLong) {
  Fd sender(socket(AF_INET, SOCK_DGRAM, 0));
  const sockaddr_in to = loopback(9);
  const std::vector<char> bytes(100000);
  spawn([&] {
    EXPECT_EQ(fails_with(EMSGSIZE), outcome_of([&] {
                return calls().sendto(sender.get(), bytes.data(), bytes.size(), 0,
                                      reinterpret_cast<const sockaddr*>(&to), sizeof to);
              }));
  });
  run();
}

// poll() knows the sender's own queue only, so such a socket always polls as writable.
TEST_P(SendFlagsTest, WaitsForAReceiverItIsNotConnectedTo) {
  const UnixAddress address("full-receiver");
  Fd receiver(socket(AF_UNIX, SOCK_DGRAM, 0)), sender(socket(AF_UNIX, SOCK_DGRAM, 0));
  ASSERT_EQ(0, bind(receiver.get(), address.get(), address.size));
  while (sendto(sender.get(), "x", 1, MSG_DONTWAIT, address.get(), address.size) == 1) continue;
  spawn([&] {
    EXPECT_EQ(gives(1), outcome_of([&] {
                return calls().sendto(sender.get(), "y", 1, 0, address.get(), address.size);
              }));
  });
  spawn([&] {
    calls().usleep(30000);
    char byte = 'x';
    while (byte == 'x') ASSERT_EQ(1, calls().recv(receiver.get(), &byte, 1, 0));
  });
  run();
  EXPECT_LT(suspensions(), 100u);
}

TEST_P(SendFlagsTest, SendsADescriptorOnceWithManyBytes) {
  Pair ends = socket_pair();
  Pair passed = make_pipe();
  const std::vector<char> bytes = pattern(1 << 20);
  spawn([&] {
    iovec parts[2];
    msghdr message = message_of(parts, bytes.data(), bytes.size());
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = passed.a.get();
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    EXPECT_EQ(gives(bytes.size()), outcome_of([&] { return calls().sendmsg(ends.a.get(), &message, 0); }));
  });
  std::vector<Fd> got;
  std::vector<char> received;
  spawn([&] {
    while (received.size() < bytes.size()) {
      char some[60000];
      iovec part{some, sizeof some};
      alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))] = {};
      msghdr message{};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      const ssize_t size = calls().recvmsg(ends.b.get(), &message, 0);
      ASSERT_GT(size, 0);
      received.insert(received.end(), some, some + size);
      if (cmsghdr* header = CMSG_FIRSTHDR(&message)) {
        int fd;
        std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
        got.emplace_back(fd);
      }
    }
  });
  run();
  EXPECT_EQ(1u, got.size());
  EXPECT_TRUE(received == bytes);
}

}  // namespace
}  // namespace unit
