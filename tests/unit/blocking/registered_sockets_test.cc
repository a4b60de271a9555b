// A socket stays registered between the waits of fibers, whatever becomes of it meanwhile.
#include "plugin/blocking/registered_sockets.h"

#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

// Returns what poll() does within two seconds, -1 for POLLNVAL.
int poll_once(int fd, short events = POLLIN) {
  pollfd one{fd, events, 0};
  const int ready = calls().poll(&one, 1, 2000);
  return ready == 1 && one.revents == POLLNVAL ? -1 : ready;
}

class RegisteredSockets : public FibersTest {
 protected:
  // Has a fiber wait for the socket once, so that it is registered from then on.
  void wait_once(const Pair& sockets) {
    spawn([&] {
      char byte;
      EXPECT_EQ(1, calls().recv(sockets.a.get(), &byte, 1, 0));
    });
    EXPECT_EQ(1, ::send(sockets.b.get(), "x", 1, 0));
    run();
    EXPECT_EQ(1, registered());
  }
  int registered() const { return loop::active_watchers - before_; }
  void SetUp() override {
    FibersTest::SetUp();
    before_ = loop::active_watchers;
  }

 private:
  int before_ = 0;
};

TEST_F(RegisteredSockets, EndWithTheFirstEventThatNobodyWaitsFor) {
  const Pair sockets = socket_pair();
  wait_once(sockets);
  EXPECT_EQ(1, ::send(sockets.b.get(), "x", 1, 0));
  look_at_the_loop();
  EXPECT_EQ(0, registered());
  spawn([&] { EXPECT_EQ(1, poll_once(sockets.a.get())); });
  run();
}

TEST_F(RegisteredSockets, EndAsTheyAreClosed) {
  Pair sockets = socket_pair();
  wait_once(sockets);
  EXPECT_EQ(0, calls().close(sockets.a.release()));
  EXPECT_EQ(0, registered());
}

TEST_F(RegisteredSockets, EndAsAThreadClosesThem) {
  Pair sockets = socket_pair();
  wait_once(sockets);
  const int number = sockets.a.release();
  std::thread([&] { EXPECT_EQ(0, calls().close(number)); }).join();
  look_at_the_loop();
  EXPECT_EQ(0, registered());
  EXPECT_FALSE(is_open(number));
}

// The calls of a library that is not redirected close a socket without a word, and its number is another's.
TEST_F(RegisteredSockets, OfANumberThatIsAnothersAreNotUsed) {
  Pair first = socket_pair();
  wait_once(first);
  const Pair second = socket_pair();
  const Fd stays_open(dup(first.a.get()));  // So the kernel still tells of it, by the same number.
  ASSERT_EQ(first.a.get(), ::dup2(second.a.get(), first.a.get()));
  spawn([&] { EXPECT_EQ(1, poll_once(first.a.get())); });
  EXPECT_EQ(1u, running());
  EXPECT_EQ(1, ::send(second.b.get(), "x", 1, 0));
  const Stopwatch stopwatch;
  run();
  EXPECT_LT(stopwatch.seconds(), 1.9);
}

TEST_F(RegisteredSockets, OfANumberThatIsClosedFail) {
  Pair sockets = socket_pair();
  wait_once(sockets);
  const int number = sockets.a.get();
  spawn([&] {
    // Between poll()'s own look and the loop's.
    the_loop().add_callback({[](void* socket) noexcept { static_cast<Fd*>(socket)->close(); }, &sockets.a});
    EXPECT_EQ(-1, poll_once(number));
  });
  run();
}

TEST_F(RegisteredSockets, ServeSeveralFibersAtOnce) {
  const Pair sockets = socket_pair();
  wait_once(sockets);
  for (int i = 0; i < 3; ++i) spawn([&] { EXPECT_EQ(1, poll_once(sockets.a.get())); });
  EXPECT_EQ(3u, running());
  EXPECT_EQ(1, ::send(sockets.b.get(), "x", 1, 0));
  run();
}

TEST_F(RegisteredSockets, ServeReadingAndWriting) {
  const Pair sockets = socket_pair();
  wait_once(sockets);
  const std::size_t bytes = fill(sockets.a.get());
  spawn([&] { EXPECT_EQ(1, poll_once(sockets.a.get(), POLLOUT)); });
  EXPECT_EQ(1u, running());
  std::vector<char> all(bytes);
  EXPECT_EQ(gives(bytes),
            outcome_of([&] { return ::recv(sockets.b.get(), all.data(), bytes, MSG_WAITALL); }));
  run();
  spawn([&] { EXPECT_EQ(1, poll_once(sockets.a.get())); });
  EXPECT_EQ(1u, running());
  EXPECT_EQ(1, ::send(sockets.b.get(), "x", 1, 0));
  run();
}

// Its two ends cannot be told apart, so a pipe does not stay registered.
TEST_F(RegisteredSockets, AreNoPipes) {
  const Pair pipe = make_pipe();
  spawn([&] { EXPECT_EQ(1, poll_once(pipe.a.get())); });
  EXPECT_EQ(1, ::write(pipe.b.get(), "x", 1));
  run();
  EXPECT_EQ(0, registered());
}

}  // namespace
}  // namespace unit
