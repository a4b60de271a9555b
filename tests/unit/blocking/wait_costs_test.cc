// What one wait of a fiber costs, once it has waited so before: its system calls in order, and its
// instructions. bench/README.md has the figures.
#if defined(__x86_64__)

#include <netinet/in.h>

#include <cstdio>
#include <memory>

#include "plugin/blocking/libc.h"
#include "tests/unit/blocking/test_gate.h"
#include "tests/unit/blocking/traced.h"

namespace unit {
namespace {

// A loop, an open gate and what is waited for. wait() waits on a fiber, and wake(), called by the loop in the
// turn that follows, ends it.
class Waiting {
 public:
  virtual ~Waiting() = default;
  virtual void wait() = 0;
  virtual void wake() noexcept {}
  // What is done after each wait, and counted with it, so that the next one waits again.
  virtual void consume() {}
  // What is done before each wait and not counted.
  virtual void prepare() {}
};

// Some waits, of which the last is between the marks.
template <typename Kind>
void wait_often() {
  TestGate gate;
  loop::IoLoop loop;
  blocking::open_gate(&gate, &loop);
  static loop::IoLoop* the_loop;
  static Kind* kind;
  the_loop = &loop;
  Kind made;
  kind = &made;
  suspend::BareObserver observer;
  suspend::Fiber fiber(256 * 1024, observer);
  fiber.start(
      [](void*) noexcept {
        constexpr int kWaits = 4;
        for (int i = 0; i < kWaits; ++i) {
          kind->prepare();
          the_loop->add_callback({[](void*) noexcept { kind->wake(); }, nullptr});
          if (i == kWaits - 1) mark_for_tracer();
          kind->wait();
          kind->consume();
        }
        mark_for_tracer();
        the_loop->stop();
      },
      nullptr);
  while (!fiber.idle()) loop.run();
  blocking::open_gate(nullptr, nullptr);
}

class OnSocket : public Waiting {
 public:
  void wake() noexcept override { blocking::libc::send(sockets_.b.get(), "x", 1, 0); }
  void consume() override {
    char byte;
    EXPECT_EQ(1, blocking::libc::recv(sockets_.a.get(), &byte, 1, 0));
  }

 protected:
  const Pair sockets_ = socket_pair();
};

class Poll final : public OnSocket {
 public:
  void wait() override {
    pollfd one{sockets_.a.get(), POLLIN | POLLERR, 0};
    EXPECT_EQ(1, calls().poll(&one, 1, -1));
  }
};

class Recv final : public OnSocket {
 public:
  void wait() override {
    char byte;
    EXPECT_EQ(1, calls().recv(sockets_.a.get(), &byte, 1, 0));
  }
  void consume() override {}
};

class EpollWait final : public OnSocket {
 public:
  EpollWait() {
    epoll_event event{};
    event.events = EPOLLIN;
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, sockets_.a.get(), &event);
  }
  void wait() override {
    epoll_event event;
    EXPECT_EQ(1, calls().epoll_wait(epoll_.get(), &event, 1, -1));
  }

 private:
  const Fd epoll_{epoll_create1(EPOLL_CLOEXEC)};
};

class SemWait final : public Waiting {
 public:
  SemWait() { sem_init(&semaphore_, 0, 0); }
  void wait() override { EXPECT_EQ(0, calls().sem_wait(&semaphore_)); }
  void wake() noexcept override { calls().sem_post(&semaphore_); }

 private:
  sem_t semaphore_;
};

class Connect final : public Waiting {
 public:
  void prepare() override { client_ = Fd(socket(AF_INET, SOCK_STREAM, 0)); }
  void wait() override {
    EXPECT_EQ(0, calls().connect(client_.get(), listener_.where(), sizeof listener_.address));
  }

 private:
  const Listener listener_ = listen_tcp();
  Fd client_;
};

// What never waits: a file says so by fstat().
class FileCalls final : public Waiting {
 public:
  void wait() override {
    EXPECT_EQ(4, calls().write(fileno(file_.get()), "byte", 4));
    lseek(fileno(file_.get()), 0, SEEK_SET);
    char bytes[16];
    EXPECT_EQ(4, calls().read(fileno(file_.get()), bytes, 4));
    iovec part{bytes, 4};
    lseek(fileno(file_.get()), 0, SEEK_SET);
    EXPECT_EQ(4, calls().readv(fileno(file_.get()), &part, 1));
  }

 private:
  const std::unique_ptr<FILE, int (*)(FILE*)> file_{tmpfile(), fclose};
};

// At most so many instructions, in the unit tests' own build (-O1, assertions). They differ by the compiler's
// version and the kernel's clock, so there is a fifth to spare; a sanitizer's are another matter.
void expect_at_most(long most, long instructions) {
  ::testing::Test::RecordProperty("instructions", static_cast<int>(instructions));
#if !defined(__SANITIZE_ADDRESS__)
  EXPECT_LE(instructions, most);
  EXPECT_GE(instructions, most / 2) << "lower the number that it is held to";
#else
  (void)most;
#endif
}

TEST(WaitCosts, PollOfOneDescriptor) {
  Traced wait(wait_often<Poll>);
  EXPECT_EQ("poll send fstat epoll_wait poll recv", wait.system_calls());
  expect_at_most(2300, wait.instructions());
}

TEST(WaitCosts, Recv) {
  Traced wait(wait_often<Recv>);
  EXPECT_EQ("recv fcntl getsockopt send fstat epoll_wait recv", wait.system_calls());
  expect_at_most(2500, wait.instructions());
}

TEST(WaitCosts, EpollWaitOfOneDescriptor) {
  Traced wait(wait_often<EpollWait>);
  EXPECT_EQ("epoll_wait send fstat epoll_ctl epoll_wait epoll_wait recv", wait.system_calls());
  expect_at_most(2950, wait.instructions());
}

TEST(WaitCosts, SemWait) {
  Traced wait(wait_often<SemWait>);
  EXPECT_EQ("epoll_wait", wait.system_calls());
  expect_at_most(2500, wait.instructions());
}

// One to this machine is made at once, and not waited for.
TEST(WaitCosts, Connect) {
  Traced wait(wait_often<Connect>);
  EXPECT_EQ("fcntl getsockopt getsockopt ioctl connect ioctl poll ioctl connect ioctl", wait.system_calls());
  expect_at_most(750, wait.instructions());
}

TEST(WaitCosts, ReadAndWriteOfAFile) {
  Traced wait(wait_often<FileCalls>);
  EXPECT_EQ("fstat write lseek fstat read lseek fstat readv", wait.system_calls());
}

}  // namespace
}  // namespace unit

#endif
