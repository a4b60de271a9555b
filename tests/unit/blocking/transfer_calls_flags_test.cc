// The flags of recv and recvmsg, and what recvmsg and recvfrom tell beside the data.
#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

// recv's flags.
class RecvTest : public BothWorldsTest {
 protected:
  Outcome recv(int flags, std::size_t size) {
    return outcome_of([&] { return calls().recv(ends_.a.get(), buffer_, size, flags); });
  }
  char buffer_[64] = {};
  Pair ends_ = tcp_pair();
};
INSTANTIATE_IN_BOTH_WORLDS(RecvTest);

TEST_P(RecvTest, WithDontWaitSaysEagain) {
  spawn([&] { EXPECT_EQ(fails_with(EAGAIN), recv(MSG_DONTWAIT, 8)); });
  run();
}

TEST_P(RecvTest, WithPeekWaitsAndLeavesTheData) {
  spawn([&] {
    EXPECT_EQ(gives(4), recv(MSG_PEEK, 8));
    EXPECT_EQ(gives(4), recv(0, 8));
  });
  ASSERT_EQ(4, write(ends_.b.get(), "peek", 4));
  run();
  EXPECT_STREQ("peek", buffer_);
}

TEST_P(RecvTest, WithWaitAllWaitsForEveryByte) {
  spawn([&] { EXPECT_EQ(gives(9), recv(MSG_WAITALL, 9)); });
  for (const char* part : {"abc", "def", "ghi"}) {
    spawn([&, part] { EXPECT_EQ(3, calls().send(ends_.b.get(), part, 3, 0)); });
    if (on_fibers()) look_at_the_loop();
  }
  run();
  EXPECT_EQ(9u, std::strlen(buffer_));
}

TEST_P(RecvTest, WithWaitAllIsShortAtTheEnd) {
  spawn([&] { EXPECT_EQ(gives(3), recv(MSG_WAITALL, 9)); });
  ASSERT_EQ(3, write(ends_.b.get(), "abc", 3));
  ends_.b.close();
  run();
}

TEST_P(RecvTest, WithWaitAllIsShortAtTheTimeout) {
  set_timeout(ends_.a.get(), SO_RCVTIMEO, 20000);
  ASSERT_EQ(3, write(ends_.b.get(), "abc", 3));
  spawn([&] { EXPECT_EQ(3, calls().recv(ends_.a.get(), buffer_, 9, MSG_WAITALL)); });
  run();
}

TEST_P(RecvTest, WithWaitAllStillTakesOneDatagram) {
  Pair datagrams = socket_pair(SOCK_DGRAM);
  ASSERT_EQ(3, write(datagrams.b.get(), "abc", 3));
  spawn([&] { EXPECT_EQ(3, calls().recv(datagrams.a.get(), buffer_, 9, MSG_WAITALL)); });
  run();
}

TEST_P(RecvTest, WithPeekAndWaitAllWaitsForEveryByteAndLeavesThem) {
  ASSERT_EQ(3, write(ends_.b.get(), "abc", 3));
  spawn([&] {
    EXPECT_EQ(gives(6), recv(MSG_PEEK | MSG_WAITALL, 6));
    EXPECT_EQ(gives(6), recv(0, 9));
  });
  spawn([&] {
    calls().usleep(5000);
    EXPECT_EQ(3, calls().send(ends_.b.get(), "def", 3, 0));
  });
  run();
  EXPECT_STREQ("abcdef", buffer_);
}

TEST_P(RecvTest, WithPeekAndWaitAllIsShortAtTheEnd) {
  ASSERT_EQ(3, write(ends_.b.get(), "abc", 3));
  spawn([&] { EXPECT_EQ(gives(3), recv(MSG_PEEK | MSG_WAITALL, 6)); });
  ends_.b.close();
  run();
}

TEST_P(RecvTest, OfUrgentDataNeverWaits) {
  spawn([&] { EXPECT_EQ(fails_with(EINVAL), recv(MSG_OOB, 1)); });
  run();
}

TEST_P(RecvTest, OfTheErrorQueueNeverWaits) {
  spawn([&] { EXPECT_EQ(fails_with(EAGAIN), recv(MSG_ERRQUEUE, 1)); });
  run();
}

TEST_P(RecvTest, SaysNotASocket) {
  Pair pipe = make_pipe();
  spawn([&] {
    EXPECT_EQ(fails_with(ENOTSOCK), outcome_of([&] { return calls().recv(pipe.a.get(), buffer_, 1, 0); }));
  });
  run();
}

TEST_P(RecvTest, PassesOnAConnectionReset) {
  const linger abort_at_close{1, 0};
  ASSERT_EQ(0, setsockopt(ends_.b.get(), SOL_SOCKET, SO_LINGER, &abort_at_close, sizeof abort_at_close));
  spawn([&] { EXPECT_EQ(fails_with(ECONNRESET), recv(0, 8)); });
  ends_.b.close();
  run();
}

class RecvmsgTest : public BothWorldsTest {};
INSTANTIATE_IN_BOTH_WORLDS(RecvmsgTest);

TEST_P(RecvmsgTest, WithWaitAllFillsEveryBuffer) {
  Pair ends = socket_pair();
  char first[3] = {}, second[5] = {};
  spawn([&] {
    iovec parts[] = {{first, 2}, {second, 4}};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    EXPECT_EQ(gives(6), outcome_of([&] { return calls().recvmsg(ends.a.get(), &message, MSG_WAITALL); }));
    EXPECT_EQ(2u, parts[0].iov_len);
  });
  for (const char* part : {"abc", "def"}) {
    spawn([&, part] { EXPECT_EQ(3, calls().send(ends.b.get(), part, 3, 0)); });
    if (on_fibers()) look_at_the_loop();
  }
  run();
  EXPECT_EQ(6u, std::strlen(first) + std::strlen(second));
}

TEST_P(RecvmsgTest, WaitsForADescriptor) {
  Pair ends = socket_pair();
  Pair passed = make_pipe();
  Fd got;
  spawn([&] {
    char byte = 0;
    iovec part{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    EXPECT_EQ(gives(1),
              outcome_of([&] { return calls().recvmsg(ends.a.get(), &message, MSG_CMSG_CLOEXEC); }));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    ASSERT_NE(nullptr, header);
    int fd;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    got = Fd(fd);
  });
  spawn([&] {
    char byte = 'x';
    iovec part{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = passed.a.get();
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    EXPECT_EQ(1, calls().sendmsg(ends.b.get(), &message, 0));
  });
  run();
  EXPECT_TRUE(is_open(got.get()));
}

TEST_P(RecvmsgTest, SaysThatADatagramWasCut) {
  Pair ends = socket_pair(SOCK_DGRAM);
  spawn([&] {
    char bytes[2];
    iovec part{bytes, sizeof bytes};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    EXPECT_EQ(2, calls().recvmsg(ends.a.get(), &message, 0));
    EXPECT_TRUE(message.msg_flags & MSG_TRUNC);
  });
  ASSERT_EQ(5, write(ends.b.get(), "12345", 5));
  run();
}

TEST_P(RecvmsgTest, AndRecvfromSayWhoSent) {
  Fd receiver(socket(AF_INET, SOCK_DGRAM, 0)), sender(socket(AF_INET, SOCK_DGRAM, 0));
  sockaddr_in to = loopback(0), from = loopback(0), seen{};
  socklen_t size = sizeof to;
  ASSERT_EQ(0, bind(receiver.get(), reinterpret_cast<sockaddr*>(&to), size));
  ASSERT_EQ(0, bind(sender.get(), reinterpret_cast<sockaddr*>(&from), size));
  getsockname(receiver.get(), reinterpret_cast<sockaddr*>(&to), &size);
  getsockname(sender.get(), reinterpret_cast<sockaddr*>(&from), &size);
  spawn([&] {
    char byte;
    socklen_t seen_size = sizeof seen;
    EXPECT_EQ(1,
              calls().recvfrom(receiver.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&seen), &seen_size));
    EXPECT_EQ(sizeof seen, seen_size);
  });
  spawn([&] {
    EXPECT_EQ(1, calls().sendto(sender.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof to));
  });
  run();
  EXPECT_EQ(from.sin_port, seen.sin_port);
}

class ReadTest : public BothWorldsTest {};
INSTANTIATE_IN_BOTH_WORLDS(ReadTest);

TEST_P(ReadTest, OfNoBytesDoesNotWait) {
  Pair ends = socket_pair();
  spawn([&] {
    char byte;
    iovec empty{&byte, 0};
    EXPECT_EQ(gives(0), outcome_of([&] { return calls().read(ends.a.get(), &byte, 0); }));
    EXPECT_EQ(gives(0), outcome_of([&] { return calls().readv(ends.a.get(), &empty, 1); }));
    EXPECT_EQ(gives(0), outcome_of([&] { return calls().readv(ends.a.get(), &empty, 0); }));
    EXPECT_EQ(fails_with(EINVAL), outcome_of([&] { return calls().readv(ends.a.get(), &empty, -1); }));
  });
  run();
}

}  // namespace
}  // namespace unit
