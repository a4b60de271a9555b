// connect, accept and accept4 keep their manual pages on a fiber.
#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

class ConnectTest : public BothWorldsTest {
 protected:
  static Outcome connect(const Fd& fd, const Listener& to) {
    return outcome_of([&] { return calls().connect(fd.get(), to.where(), sizeof to.address); });
  }
  static Outcome connect(const Fd& fd, const UnixAddress& to) {
    return outcome_of([&] { return calls().connect(fd.get(), to.get(), to.size); });
  }
  static Outcome accept(const Fd& fd) {
    return outcome_of([&] {
      const Fd accepted(calls().accept(fd.get(), nullptr, nullptr));
      return accepted.get() < 0 ? -1 : 0;
    });
  }
  static Fd tcp_socket() { return Fd(socket(AF_INET, SOCK_STREAM, 0)); }
  static bool blocks(const Fd& fd) { return (fcntl(fd.get(), F_GETFL) & O_NONBLOCK) == 0; }

  // A listening UNIX socket with room for no further connection.
  void fill_backlog() {
    ASSERT_EQ(0, bind(full_.get(), address_.get(), address_.size));
    ASSERT_EQ(0, listen(full_.get(), 0));
    ASSERT_EQ(0, ::connect(first_.get(), address_.get(), address_.size));
  }
  const UnixAddress address_{"backlog"};
  Fd full_{socket(AF_UNIX, SOCK_STREAM, 0)}, first_{socket(AF_UNIX, SOCK_STREAM, 0)};
};
INSTANTIATE_IN_BOTH_WORLDS(ConnectTest);

TEST_P(ConnectTest, ReachesAListeningPort) {
  Listener listener = listen_tcp();
  Fd client = tcp_socket();
  spawn([&] { EXPECT_EQ(gives(0), connect(client, listener)); });
  run();
  EXPECT_TRUE(blocks(client));
}

TEST_P(ConnectTest, SaysThatNobodyListens) {
  Listener nobody = bound_tcp();
  Fd client = tcp_socket();
  spawn([&] { EXPECT_EQ(fails_with(ECONNREFUSED), connect(client, nobody)); });
  run();
}

TEST_P(ConnectTest, ReturnsAtOnceWhereAskedNotToWait) {
  Listener listener = listen_tcp();
  Fd client = tcp_socket();
  make_nonblocking(client.get());
  spawn([&] { EXPECT_EQ(fails_with(EINPROGRESS), connect(client, listener)); });
  run();
  EXPECT_FALSE(blocks(client));
}

TEST_P(ConnectTest, SaysThatItIsConnected) {
  Listener listener = listen_tcp();
  Fd client = tcp_socket();
  spawn([&] {
    EXPECT_EQ(gives(0), connect(client, listener));
    EXPECT_EQ(fails_with(EISCONN), connect(client, listener));
  });
  run();
}

TEST_P(ConnectTest, SaysBadDescriptor) {
  Listener listener = listen_tcp();
  spawn([&] { EXPECT_EQ(fails_with(EBADF), connect(Fd(), listener)); });
  run();
}

// Further connections to a full queue stay on their way: their SYN is dropped.
TEST_P(ConnectTest, KeepsTheSocketTimeout) {
  Listener listener = listen_tcp(0);
  Fd first = tcp_socket(), client = tcp_socket();
  ASSERT_EQ(0, ::connect(first.get(), listener.where(), sizeof listener.address));
  set_timeout(client.get(), SO_SNDTIMEO, 30000);
  spawn([&] {
    const Stopwatch watch;
    EXPECT_EQ(fails_with(EINPROGRESS), connect(client, listener));
    EXPECT_GE(watch.seconds(), 0.029);
    // Waits again for the connection that is on its way.
    EXPECT_EQ(fails_with(EALREADY), connect(client, listener));
    EXPECT_GE(watch.seconds(), 0.058);
    EXPECT_LT(watch.seconds(), 3);
  });
  run();
  EXPECT_TRUE(blocks(client));
}

TEST_P(ConnectTest, WaitsForRoomInAUnixListenersQueue) {
  fill_backlog();
  Fd client(socket(AF_UNIX, SOCK_STREAM, 0));
  spawn([&] { EXPECT_EQ(gives(0), connect(client, address_)); });
  spawn([&] { EXPECT_EQ(gives(0), accept(full_)); });
  run();
}

TEST_P(ConnectTest, KeepsTheSocketTimeoutOfAUnixSocket) {
  fill_backlog();
  Fd client(socket(AF_UNIX, SOCK_STREAM, 0));
  set_timeout(client.get(), SO_SNDTIMEO, 20000);
  spawn([&] {
    const Stopwatch watch;
    EXPECT_EQ(fails_with(EAGAIN), connect(client, address_));
    EXPECT_GE(watch.seconds(), 0.019);
  });
  run();
}

TEST_P(ConnectTest, OfADatagramSocketDoesNotWait) {
  Fd client(socket(AF_INET, SOCK_DGRAM, 0));
  const sockaddr_in to = loopback(9);
  spawn([&] {
    EXPECT_EQ(0, calls().connect(client.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to));
  });
  run();
  EXPECT_EQ(0u, suspensions());
}

class AcceptTest : public ConnectTest {};
INSTANTIATE_IN_BOTH_WORLDS(AcceptTest);

TEST_P(AcceptTest, WaitsForAConnectionAndSaysWhose) {
  Listener listener = listen_tcp();
  Fd client = tcp_socket();
  sockaddr_in peer{}, own{};
  socklen_t size = sizeof peer;
  spawn([&] {
    Fd accepted(calls().accept4(listener.fd.get(), reinterpret_cast<sockaddr*>(&peer), &size,
                                SOCK_CLOEXEC | SOCK_NONBLOCK));
    EXPECT_EQ(FD_CLOEXEC, fcntl(accepted.get(), F_GETFD));
    EXPECT_FALSE(blocks(accepted));
  });
  spawn([&] { EXPECT_EQ(gives(0), connect(client, listener)); });
  run();
  EXPECT_EQ(sizeof peer, size);
  getsockname(client.get(), reinterpret_cast<sockaddr*>(&own), &size);
  EXPECT_EQ(own.sin_port, peer.sin_port);
  EXPECT_TRUE(blocks(listener.fd));
}

TEST_P(AcceptTest, GivesEachOfTwoAcceptersAConnection) {
  Listener listener = listen_tcp();
  Fd clients[] = {tcp_socket(), tcp_socket()};
  for (int i = 0; i < 2; ++i) spawn([&] { EXPECT_EQ(gives(0), accept(listener.fd)); });
  for (const Fd& client : clients) ASSERT_EQ(gives(0), connect(client, listener));
  run();
}

// A listener is shared by processes and threads, who all wait in accept().
TEST_P(AcceptTest, NeverMakesTheListenerNonBlockingForOthers) {
  Listener listener = listen_tcp();
  SeenByOthers seen(listener.fd);
  for (int i = 0; i < 200; ++i) {
    Fd client = tcp_socket();
    spawn([&] { EXPECT_EQ(gives(0), accept(listener.fd)); });
    ASSERT_EQ(gives(0), connect(client, listener));
    run();
  }
  EXPECT_FALSE(seen.as_nonblocking());
}

TEST_P(AcceptTest, KeepsTheSocketTimeout) {
  Listener listener = listen_tcp();
  set_timeout(listener.fd.get(), SO_RCVTIMEO, 20000);
  spawn([&] {
    const Stopwatch watch;
    EXPECT_EQ(fails_with(EAGAIN), accept(listener.fd));
    EXPECT_GE(watch.seconds(), 0.019);
  });
  run();
}

TEST_P(AcceptTest, SaysEagainWhereAskedNotToWait) {
  Listener listener = listen_tcp();
  make_nonblocking(listener.fd.get());
  spawn([&] { EXPECT_EQ(fails_with(EAGAIN), accept(listener.fd)); });
  run();
}

TEST_P(AcceptTest, RefusesWhatIsInvalid) {
  Listener bound = bound_tcp();
  Pair pipe = make_pipe();
  spawn([&] {
    EXPECT_EQ(fails_with(EINVAL), accept(bound.fd));
    EXPECT_EQ(fails_with(ENOTSOCK), accept(pipe.a));
    EXPECT_EQ(fails_with(EBADF), accept(Fd()));
  });
  run();
}

}  // namespace
}  // namespace unit
