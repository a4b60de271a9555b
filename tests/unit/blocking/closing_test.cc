// A descriptor closed under a fiber that waits for it: the fiber wakes with EBADF and never
// touches the file that gets the number next.
#include <sys/resource.h>

#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

// A call that waits on a descriptor made for it.
struct Waiting {
  const char* name;
  Fd (*make)(Pair& others);
  int (*call)(int fd);
};

char buffer[64];

Fd one_end(Pair& others) {
  Pair ends = socket_pair();
  others.b = std::move(ends.b);
  return std::move(ends.a);
}

Fd full_end(Pair& others) {
  Fd end = one_end(others);
  fill(end.get());
  return end;
}

Fd connecting(Pair& others) {
  Listener listener = listen_tcp(0);
  Fd first(socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(0, connect(first.get(), listener.where(), sizeof listener.address));
  others = {std::move(listener.fd), std::move(first)};
  return Fd(socket(AF_INET, SOCK_STREAM, 0));
}

int poll_for(int fd, short events) {
  pollfd one{fd, events, 0};
  const int ready = calls().poll(&one, 1, -1);
  if (ready == 1 && one.revents == POLLNVAL) errno = EBADF;
  return ready == 1 && one.revents == POLLNVAL ? -1 : ready;
}

const Waiting kWaiting[] = {
    {"recv", one_end, [](int fd) { return static_cast<int>(calls().recv(fd, buffer, 8, 0)); }},
    {"recv_all", one_end, [](int fd) { return static_cast<int>(calls().recv(fd, buffer, 8, MSG_WAITALL)); }},
    {"read", one_end, [](int fd) { return static_cast<int>(calls().read(fd, buffer, 8)); }},
    {"readv", one_end,
     [](int fd) {
       const iovec part{buffer, 8};
       return static_cast<int>(calls().readv(fd, &part, 1));
     }},
    {"read_pipe",
     [](Pair& others) {
       Pair pipe = make_pipe();
       others.b = std::move(pipe.b);
       return std::move(pipe.a);
     },
     [](int fd) { return static_cast<int>(calls().read(fd, buffer, 8)); }},
    {"send", full_end, [](int fd) { return static_cast<int>(calls().send(fd, buffer, 8, 0)); }},
    {"write", full_end, [](int fd) { return static_cast<int>(calls().write(fd, buffer, 8)); }},
    {"write_pipe",
     [](Pair& others) {
       Pair pipe = make_pipe();
       others.a = std::move(pipe.a);
       fill(pipe.b.get());
       return std::move(pipe.b);
     },
     [](int fd) { return static_cast<int>(calls().write(fd, buffer, 8)); }},
    {"accept", [](Pair&) { return listen_tcp().fd; },
     [](int fd) { return calls().accept(fd, nullptr, nullptr); }},
    {"connect", connecting,
     [](int fd) {
       sockaddr_in to{};
       socklen_t size = sizeof to;
       // The listener is the descriptor made first, just below.
       for (int other = fd - 1; other >= 0; --other) {
         int listens = 0;
         socklen_t flag_size = sizeof listens;
         if (getsockopt(other, SOL_SOCKET, SO_ACCEPTCONN, &listens, &flag_size) == 0 && listens) {
           getsockname(other, reinterpret_cast<sockaddr*>(&to), &size);
           break;
         }
       }
       return calls().connect(fd, reinterpret_cast<sockaddr*>(&to), size);
     }},
    {"poll", one_end, [](int fd) { return poll_for(fd, POLLIN); }},
    {"poll_urgent", one_end, [](int fd) { return poll_for(fd, POLLIN | POLLPRI); }},
    {"poll_hang_up", one_end, [](int fd) { return poll_for(fd, 0); }},
    {"select", one_end,
     [](int fd) {
       fd_set read;
       FD_ZERO(&read);
       FD_SET(fd, &read);
       return calls().select(fd + 1, &read, nullptr, nullptr, nullptr);
     }},
    {"epoll_wait", [](Pair&) { return Fd(epoll_create1(0)); },
     [](int fd) {
       epoll_event event;
       return calls().epoll_wait(fd, &event, 1, -1);
     }},
};

class CloseTest : public FibersTest, public ::testing::WithParamInterface<Waiting> {
 protected:
  // Starts the call on a fiber; it must wait.
  int start() {
    Fd made = GetParam().make(others_);
    const int fd = made.release();
    spawn([this, fd] { outcome_ = outcome_of([fd] { return GetParam().call(fd); }); });
    look_at_the_loop();
    EXPECT_EQ(1u, running());
    return fd;
  }
  void expect_bad_descriptor() {
    run();
    EXPECT_EQ(fails_with(EBADF), outcome_);
  }
  Pair others_;
  Outcome outcome_{};
};

INSTANTIATE_TEST_SUITE_P(While, CloseTest, ::testing::ValuesIn(kWaiting),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(CloseTest, ByAnotherFiberWakes) {
  const int fd = start();
  spawn([fd] { EXPECT_EQ(gives(0), outcome_of([fd] { return calls().close(fd); })); });
  expect_bad_descriptor();
}

TEST_P(CloseTest, ByAnotherThreadWakes) {
  const int fd = start();
  std::thread([fd] { EXPECT_EQ(0, calls().close(fd)); }).join();
  expect_bad_descriptor();
}

// What keeps its number was taken before, while there were descriptors. Seen to fail alone in its process.
TEST_P(CloseTest, ByAnotherThreadTakesNoDescriptor) {
  const int fd = start();
  const std::size_t before = open_descriptors();
  std::thread([fd] { EXPECT_EQ(0, calls().close(fd)); }).join();
  expect_bad_descriptor();
  EXPECT_LE(open_descriptors(), before - 1);  // Some waits have a copy of their own, too.
}

// The new file is ready for everything at once and must not be touched.
TEST_P(CloseTest, WakesAlthoughTheNumberIsUsedAgain) {
  const int fd = start();
  Pair fresh = socket_pair();
  ASSERT_EQ(6, write(fresh.b.get(), "secret", 6));
  spawn([&, fd] { EXPECT_EQ(fd, calls().dup2(fresh.a.get(), fd)); });
  expect_bad_descriptor();
  EXPECT_EQ(6, recv(fd, buffer, sizeof buffer, MSG_DONTWAIT));
  EXPECT_EQ(-1, recv(fresh.b.get(), buffer, sizeof buffer, MSG_DONTWAIT));
  close(fd);
}

TEST_P(CloseTest, ByAThreadWakesAlthoughTheNumberIsUsedAgain) {
  const int fd = start();
  Pair fresh = socket_pair();
  ASSERT_EQ(6, write(fresh.b.get(), "secret", 6));
  std::thread([&, fd] { EXPECT_EQ(fd, calls().dup3(fresh.a.get(), fd, O_CLOEXEC)); }).join();
  expect_bad_descriptor();
  EXPECT_EQ(6, recv(fd, buffer, sizeof buffer, MSG_DONTWAIT));
  close(fd);
}

class CloseOnceTest : public FibersTest {
 protected:
  // A fiber that takes five bytes from `fd`.
  void expect_to_receive(int fd) {
    spawn([fd] { EXPECT_EQ(gives(5), outcome_of([fd] { return calls().recv(fd, buffer, 8, 0); })); });
  }
  Pair ends_ = socket_pair();
};

TEST_F(CloseOnceTest, WakesEveryWaiter) {
  const int fd = dup(ends_.a.get());
  const auto bad = [fd] {
    EXPECT_EQ(fails_with(EBADF), outcome_of([fd] { return calls().recv(fd, buffer, 8, 0); }));
  };
  spawn(bad);
  spawn(bad);
  EXPECT_EQ(2u, running());
  spawn([fd] { EXPECT_EQ(0, calls().close(fd)); });
  run();
}

TEST_F(CloseOnceTest, LeavesAWaiterOfAnotherDescriptorOfTheFileAlone) {
  const int other = dup(ends_.a.get());
  expect_to_receive(ends_.a.get());
  spawn([&] {
    EXPECT_EQ(0, calls().close(other));
    EXPECT_EQ(5, calls().send(ends_.b.get(), "hello", 5, 0));
  });
  run();
}

TEST_F(CloseOnceTest, AFailedDupLeavesTheWaiterAlone) {
  const int fd = ends_.a.get();
  expect_to_receive(fd);
  spawn([&] {
    EXPECT_EQ(fails_with(EBADF), outcome_of([&] { return calls().dup2(-1, fd); }));
    EXPECT_EQ(fails_with(EINVAL), outcome_of([&] { return calls().dup3(fd, fd, 0); }));
    EXPECT_EQ(fails_with(EINVAL), outcome_of([&] { return calls().dup3(ends_.b.get(), fd, 1); }));
    EXPECT_EQ(gives(static_cast<std::size_t>(fd)), outcome_of([&] { return calls().dup2(fd, fd); }));
    EXPECT_EQ(5, calls().send(ends_.b.get(), "hello", 5, 0));
  });
  run();
}

TEST_F(CloseOnceTest, SaysBadDescriptor) {
  spawn([] {
    EXPECT_EQ(fails_with(EBADF), outcome_of([] { return calls().close(-1); }));
    EXPECT_EQ(fails_with(EBADF), outcome_of([] { return calls().close(1 << 30); }));
  });
  run();
}

// A thread cannot take a number from the loop's hands; it is free once the loop let go of it.
TEST_F(CloseOnceTest, ByAThreadFreesTheNumberOnceTheWaitersKnow) {
  const int fd = dup(ends_.a.get());
  spawn([fd] { EXPECT_EQ(fails_with(EBADF), outcome_of([fd] { return calls().recv(fd, buffer, 8, 0); })); });
  std::thread([&] {
    EXPECT_EQ(0, calls().close(fd));
    EXPECT_EQ(fails_with(EBADF), outcome_of([fd] { return calls().close(fd); }));
    ends_.a.close();
  }).join();
  // The file itself is closed by now.
  char byte;
  EXPECT_EQ(0, recv(ends_.b.get(), &byte, 1, MSG_DONTWAIT));
  Pair fresh = socket_pair();
  EXPECT_NE(fd, fresh.a.get());
  EXPECT_NE(fd, fresh.b.get());
  run();
  EXPECT_FALSE(is_open(fd));
}

// close() and dup2() to the same number, before the loop has heard of the close.
TEST_F(CloseOnceTest, ByAThreadLeavesTheNextFileOfTheNumberAlone) {
  const int fd = dup(ends_.a.get());
  Pair fresh = socket_pair();
  spawn([fd] { EXPECT_EQ(fails_with(EBADF), outcome_of([fd] { return calls().recv(fd, buffer, 8, 0); })); });
  std::thread([&] {
    EXPECT_EQ(0, calls().close(fd));
    EXPECT_EQ(fd, calls().dup2(fresh.a.get(), fd));
  }).join();
  expect_to_receive(fd);
  run_until_running(1);
  ASSERT_EQ(5, write(fresh.b.get(), "hello", 5));
  run();
  close(fd);
}

TEST_F(CloseOnceTest, ByAThreadOfWhatNobodyWaitsForFreesTheNumberAtOnce) {
  expect_to_receive(ends_.a.get());
  const int fd = dup(ends_.b.get());
  std::thread([fd] { EXPECT_EQ(gives(0), outcome_of([fd] { return calls().close(fd); })); }).join();
  EXPECT_FALSE(is_open(fd));
  ASSERT_EQ(5, write(ends_.b.get(), "hello", 5));
  run();
}

TEST_F(CloseOnceTest, ReachesVeryHighDescriptors) {
  rlimit limit;
  ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
  const int wanted = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1 << 20)) - 1;
  const int fd = fcntl(ends_.a.get(), F_DUPFD, wanted);
  ASSERT_EQ(wanted, fd);
  expect_to_receive(fd);
  ASSERT_EQ(5, write(ends_.b.get(), "hello", 5));
  run();
  spawn([fd] { EXPECT_EQ(fails_with(EBADF), outcome_of([fd] { return calls().recv(fd, buffer, 8, 0); })); });
  spawn([fd] { EXPECT_EQ(0, calls().close(fd)); });
  run();
}

// Threads close and fibers wait, as fast as they can; the numbers are used again at once.
TEST_F(CloseOnceTest, NeverHangsUnderStress) {
  for (int round = 0; round < 2000; ++round) {
    Pair ends = socket_pair();
    const int fd = ends.a.release();
    ssize_t got = 0;
    std::thread closer([fd] { EXPECT_EQ(0, calls().close(fd)); });
    spawn([&got, fd] { got = calls().recv(fd, buffer, 8, 0); });
    run();
    closer.join();
    EXPECT_EQ(-1, got);
  }
}

}  // namespace
}  // namespace unit
