// Calls that wait for what only the kernel knows: children, pipes, its own queues of events and messages.
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <netdb.h>
#include <resolv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <csignal>
#include <cstdio>

#include "tests/unit/blocking/kernel_calls.h"

namespace unit {
namespace {

INSTANTIATE_IN_BOTH_WORLDS(KernelCallsTest);

// --- Children, pipes, the kernel's own queues -------------------------------------------------------

TEST_P(KernelCallsTest, SystemWaitsForItsShell) {
  const auto system_call = call<int(const char*)>("system");
  const Pair pipe = make_pipe();
  const std::string command =
      "read line < /proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(pipe.a.get()) + "; exit 7";
  run_both(
      [&] {
        const int status = system_call(command.c_str());
        EXPECT_TRUE(WIFEXITED(status));
        EXPECT_EQ(7, WEXITSTATUS(status));
      },
      [&] { EXPECT_EQ(3, calls().write(pipe.b.get(), "go\n", 3)); });
  EXPECT_NE(0, system_call(nullptr));
}

// A shell that no signal reaches cannot be stopped.
TEST_P(KernelCallsTest, ShellOfSystemHasTheMaskOfWhoCalls) {
  spawn([&] {
    const int status = call<int(const char*)>("system")("kill -TERM $$; exit 0");
    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(SIGTERM, WTERMSIG(status));
  });
  run();
}

TEST_P(KernelCallsTest, PcloseWaitsForItsChild) {
  spawn([&] {
    std::FILE* const pipe = popen("sleep 0.05; exit 3", "w");
    const int status = call<int(std::FILE*)>("pclose")(pipe);
    EXPECT_EQ(3, WEXITSTATUS(status));
  });
  run();
}

TEST_P(KernelCallsTest, SpliceWaitsForWhatItMoves) {
  const auto splice_call = call<ssize_t(int, off64_t*, int, off64_t*, std::size_t, unsigned int)>("splice");
  const Pair from = make_pipe(), to = make_pipe();
  spawn([&] {
    EXPECT_EQ(fails_with(EAGAIN), outcome_of([&] {
                return splice_call(from.a.get(), nullptr, to.b.get(), nullptr, 100, SPLICE_F_NONBLOCK);
              }));
  });
  run();
  run_both(
      [&] {
        EXPECT_EQ(gives(3), outcome_of([&] {
                    return splice_call(from.a.get(), nullptr, to.b.get(), nullptr, 100, 0);
                  }));
      },
      [&] { EXPECT_EQ(3, calls().write(from.b.get(), "abc", 3)); });
  char bytes[4] = {};
  EXPECT_EQ(3, read(to.a.get(), bytes, 3));
  EXPECT_STREQ("abc", bytes);
}

TEST_P(KernelCallsTest, Preadv2AtThePositionWaitsForAPipe) {
  const auto read_call = call<ssize_t(int, const iovec*, int, off64_t, int)>("preadv64v2");
  const auto write_call = call<ssize_t(int, const iovec*, int, off64_t, int)>("pwritev64v2");
  const Pair pipe = make_pipe();
  char bytes[4] = {}, text[] = "abc";
  run_both(
      [&] {
        const iovec part{bytes, 3};
        EXPECT_EQ(gives(3), outcome_of([&] { return read_call(pipe.a.get(), &part, 1, -1, 0); }));
      },
      [&] {
        const iovec part{text, 3};
        EXPECT_EQ(gives(3), outcome_of([&] { return write_call(pipe.b.get(), &part, 1, -1, 0); }));
      });
  EXPECT_STREQ("abc", bytes);
}

TEST_P(KernelCallsTest, IoGeteventsWaitsForAnEvent) {
  const auto getevents = call<int(aio_context_t, long, long, io_event*, timespec*)>("io_getevents");
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, 1, &context) != 0) GTEST_SKIP() << "this kernel has none";
  spawn([&] {
    io_event event;
    timespec timeout{0, 30000000};
    const Stopwatch watch;
    EXPECT_EQ(0, getevents(context, 1, 1, &event, &timeout));
    EXPECT_GE(watch.seconds(), 0.03);
    EXPECT_EQ(-EINVAL, getevents(context + 1, 1, 1, &event, &timeout));
  });
  run();
  syscall(SYS_io_destroy, context);
}

// --- Many messages at once, and what _FORTIFY_SOURCE calls -------------------------------------------

TEST_P(KernelCallsTest, RecvmmsgWaitsForAllOrForOne) {
  const auto receive = call<int(int, mmsghdr*, unsigned int, int, timespec*)>("recvmmsg");
  const auto send = call<int(int, mmsghdr*, unsigned int, int)>("sendmmsg");
  int pair[2];
  ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair));
  const Fd left(pair[0]), right(pair[1]);
  char bytes[3][4] = {};
  const auto messages = [](char(&space)[3][4]) {
    static thread_local iovec parts[3];
    std::array<mmsghdr, 3> all{};
    for (std::size_t i = 0; i < 3; ++i) {
      parts[i] = {space[i], 2};
      all[i].msg_hdr.msg_iov = &parts[i];
      all[i].msg_hdr.msg_iovlen = 1;
    }
    return all;
  };
  run_both(
      [&] {
        auto got = messages(bytes);
        EXPECT_EQ(2, receive(left.get(), got.data(), 2, 0, nullptr));
        EXPECT_EQ(2u, got[1].msg_len);
        EXPECT_EQ(1, receive(left.get(), got.data(), 3, MSG_WAITFORONE, nullptr));
      },
      [&] {
        char texts[3][4] = {"ab", "cd", "ef"};
        auto sent = messages(texts);
        EXPECT_EQ(3, send(right.get(), sent.data(), 3, 0));
        EXPECT_EQ(2u, sent[2].msg_len);
      });
}

TEST_P(KernelCallsTest, SpellingsOfFortifySourceWait) {
  const auto read_chk = call<ssize_t(int, void*, std::size_t, std::size_t)>("__read_chk");
  const auto recv_chk = call<ssize_t(int, void*, std::size_t, std::size_t, int)>("__recv_chk");
  const auto poll_chk = call<int(pollfd*, nfds_t, int, std::size_t)>("__poll_chk");
  const auto ppoll_chk =
      call<int(pollfd*, nfds_t, const timespec*, const sigset_t*, std::size_t)>("__ppoll_chk");
  const auto recvfrom_chk =
      call<ssize_t(int, void*, std::size_t, std::size_t, int, sockaddr*, socklen_t*)>("__recvfrom_chk");
  const Pair pair = socket_pair();
  char byte = 0;
  const auto answers = [&] { EXPECT_EQ(1, calls().send(pair.b.get(), "x", 1, 0)); };
  const auto drain = [&] { EXPECT_EQ(1, recv(pair.a.get(), &byte, 1, 0)); };
  run_both([&] { EXPECT_EQ(gives(1), outcome_of([&] { return read_chk(pair.a.get(), &byte, 1, 1); })); },
           answers);
  run_both([&] { EXPECT_EQ(gives(1), outcome_of([&] { return recv_chk(pair.a.get(), &byte, 1, 1, 0); })); },
           answers);
  run_both(
      [&] {
        EXPECT_EQ(gives(1),
                  outcome_of([&] { return recvfrom_chk(pair.a.get(), &byte, 1, 1, 0, nullptr, nullptr); }));
      },
      answers);
  pollfd look{pair.a.get(), POLLIN, 0};
  run_both([&] { EXPECT_EQ(gives(1), outcome_of([&] { return poll_chk(&look, 1, -1, sizeof look); })); },
           answers);
  drain();
  run_both(
      [&] {
        EXPECT_EQ(gives(1), outcome_of([&] { return ppoll_chk(&look, 1, nullptr, nullptr, sizeof look); }));
      },
      answers);
  drain();
}

TEST(FortifyDeathTest, ABufferThatIsTooSmallEndsTheProcess) {
  const auto read_chk = call<ssize_t(int, void*, std::size_t, std::size_t)>("__read_chk");
  const auto poll_chk = call<int(pollfd*, nfds_t, int, std::size_t)>("__poll_chk");
  char byte;
  pollfd look{};
  EXPECT_DEATH(read_chk(0, &byte, 2, 1), "");
  EXPECT_DEATH(poll_chk(&look, 2, 0, sizeof look), "");
}

// A name server that has no record of the kind.
TEST_P(KernelCallsTest, ResolverWaitsForItsNameServer) {
  const auto query_call = call<int(res_state, const char*, int, int, unsigned char*, int)>("res_nquery");
  const Fd server(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  ASSERT_EQ(0, bind(server.get(), reinterpret_cast<const sockaddr*>(&address), size));
  ASSERT_EQ(0, getsockname(server.get(), reinterpret_cast<sockaddr*>(&address), &size));
  struct __res_state state {};
  ASSERT_EQ(0, res_ninit(&state));
  state.nscount = 1;
  state.nsaddr_list[0] = address;
  int error = 0;
  run_both(
      [&] {
        unsigned char answer[512];
        EXPECT_EQ(-1, query_call(&state, "made.up.", 1, 16, answer, sizeof answer));
        error = state.res_h_errno;
      },
      [&] {
        char packet[512];
        sockaddr_in client;
        socklen_t client_size = sizeof client;
        const ssize_t got = calls().recvfrom(server.get(), packet, sizeof packet, 0,
                                             reinterpret_cast<sockaddr*>(&client), &client_size);
        ASSERT_GT(got, 12);
        packet[2] = static_cast<char>(packet[2] | 0x84);  // An answer by who knows, without records.
        EXPECT_EQ(got, sendto(server.get(), packet, static_cast<std::size_t>(got), 0,
                              reinterpret_cast<const sockaddr*>(&client), client_size));
      });
  EXPECT_EQ(NO_DATA, error);
  res_nclose(&state);
}

TEST_P(KernelCallsTest, EpollPwait2Waits) {
  const auto wait_call = call<int(int, epoll_event*, int, const timespec*, const sigset_t*)>("epoll_pwait2");
  const Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  const Pair pipe = make_pipe();
  epoll_event event{};
  event.events = EPOLLIN;
  ASSERT_EQ(0, epoll_ctl(epoll.get(), EPOLL_CTL_ADD, pipe.a.get(), &event));
  spawn([&] {
    epoll_event seen;
    const timespec none{0, 0}, moment{0, 10000000};
    EXPECT_EQ(gives(0), outcome_of([&] { return wait_call(epoll.get(), &seen, 1, &none, nullptr); }));
    EXPECT_EQ(gives(0), outcome_of([&] { return wait_call(epoll.get(), &seen, 1, &moment, nullptr); }));
  });
  run();
  run_both(
      [&] {
        epoll_event seen;
        EXPECT_EQ(gives(1), outcome_of([&] { return wait_call(epoll.get(), &seen, 1, nullptr, nullptr); }));
      },
      [&] { EXPECT_EQ(1, calls().write(pipe.b.get(), "x", 1)); });
}

}  // namespace
}  // namespace unit
