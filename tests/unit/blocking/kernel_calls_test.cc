// Calls that wait for what only the kernel knows: queues, semaphores, signals, other ends, children.
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <mqueue.h>
#include <netdb.h>
#include <resolv.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "plugin/blocking/replacements.h"
#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

using blocking::Replacement;

template <typename Function>
Function* call(std::string_view name) {
  for (const Replacement& one : blocking::replacements()) {
    if (name == one.name && blocking::reaches(one.scope, blocking::Kind::kListed)) {
      return reinterpret_cast<Function*>(one.replacement);
    }
  }
  std::abort();
}

// The same on fibers and on threads.
class KernelCallsTest : public BothWorldsTest {
 protected:
  // Runs `waits`, then `wakes` once the first waits: on fibers that is known, a thread may be late, which is
  // as well.
  void run_both(std::function<void()> waits, std::function<void()> wakes) {
    spawn(std::move(waits));
    if (on_fibers()) {
      EXPECT_EQ(1u, running()) << "it did not wait";
    }
    spawn(std::move(wakes));
    run();
    if (on_fibers()) {
      EXPECT_GT(suspensions(), 0u);
    }
  }
};
INSTANTIATE_IN_BOTH_WORLDS(KernelCallsTest);

// --- Opening --------------------------------------------------------------------------------------

class OpenTest : public KernelCallsTest {
 protected:
  OpenTest() { EXPECT_EQ(0, mkfifo(path(), 0600)); }
  ~OpenTest() override { std::filesystem::remove_all(folder_); }
  const char* path() const { return path_.c_str(); }

 private:
  static std::string make_folder() {
    std::string name = "/tmp/open_test_XXXXXX";
    return mkdtemp(name.data());
  }
  const std::string folder_ = make_folder();
  const std::string path_ = folder_ + "/fifo";
};
INSTANTIATE_IN_BOTH_WORLDS(OpenTest);

TEST_P(OpenTest, OfAFifoWaitsForItsOtherEnd) {
  for (const char* name : {"open", "open64"}) {
    const auto open_call = call<int(const char*, int, ...)>(name);
    run_both(
        [&] {
          const Fd reader(open_call(path(), O_RDONLY | O_CLOEXEC));
          char byte = 0;
          EXPECT_EQ(1, calls().read(reader.get(), &byte, 1));
          EXPECT_EQ('x', byte);
        },
        [&] {
          const Fd writer(open_call(path(), O_WRONLY | O_CLOEXEC));
          EXPECT_EQ(1, calls().write(writer.get(), "x", 1));
        });
  }
}

TEST_P(OpenTest, OfAFifoAsAFileWaitsForItsOtherEnd) {
  const auto fopen_call = call<std::FILE*(const char*, const char*)>("fopen64");
  const auto openat_call = call<int(int, const char*, int, ...)>("openat64");
  run_both(
      [&] {
        std::FILE* const file = fopen_call(path(), "r");
        ASSERT_NE(nullptr, file);
        std::fclose(file);
      },
      [&] { Fd(openat_call(AT_FDCWD, path(), O_WRONLY)).close(); });
}

TEST_P(OpenTest, OfWhatNeedNotWaitDoesNot) {
  const auto open_call = call<int(const char*, int, ...)>("open64");
  spawn([&] {
    Fd(open_call(path(), O_RDWR)).close();
    Fd(open_call(path(), O_RDONLY | O_NONBLOCK)).close();
    Fd(open_call("/dev/null", O_WRONLY)).close();
    EXPECT_EQ(fails_with(ENXIO), outcome_of([&] { return open_call(path(), O_WRONLY | O_NONBLOCK); }));
    EXPECT_EQ(fails_with(ENOENT), outcome_of([&] { return open_call("/nowhere/at/all", O_RDONLY); }));
    const Fd made(open_call((std::string(path()) + ".new").c_str(), O_WRONLY | O_CREAT | O_EXCL, 0640));
    struct stat status;
    EXPECT_EQ(0, fstat(made.get(), &status));
    const mode_t mask = umask(0);
    umask(mask);
    EXPECT_EQ(0640u & ~mask, status.st_mode & 0777);
  });
  run();
  EXPECT_EQ(0u, suspensions());
}

// --- System V -------------------------------------------------------------------------------------

TEST_P(KernelCallsTest, SemopWaitsForTheSemaphore) {
  const auto semop_call = call<int(int, sembuf*, std::size_t)>("semop");
  const int set = semget(IPC_PRIVATE, 1, 0600);
  ASSERT_GE(set, 0);
  run_both(
      [&] {
        sembuf take{0, -1, SEM_UNDO};
        EXPECT_EQ(gives(0), outcome_of([&] { return semop_call(set, &take, 1); }));
      },
      [&] {
        sembuf give{0, 1, 0};
        EXPECT_EQ(gives(0), outcome_of([&] { return semop_call(set, &give, 1); }));
      });
  EXPECT_EQ(0, semctl(set, 0, GETVAL));
  semctl(set, 0, IPC_RMID);
}

TEST_P(KernelCallsTest, SemopThatIsNotToWaitDoesNot) {
  const auto semop_call = call<int(int, sembuf*, std::size_t)>("semop");
  const int set = semget(IPC_PRIVATE, 2, 0600);
  spawn([&] {
    sembuf take{0, -1, IPC_NOWAIT};
    EXPECT_EQ(fails_with(EAGAIN), outcome_of([&] { return semop_call(set, &take, 1); }));
    // The one that is not to wait would.
    sembuf both[] = {{0, 0, 0}, {1, -1, IPC_NOWAIT}};
    EXPECT_EQ(fails_with(EAGAIN), outcome_of([&] { return semop_call(set, both, 2); }));
  });
  run();
  semctl(set, 0, IPC_RMID);
}

TEST_P(KernelCallsTest, SemtimedopWaitsAsLong) {
  const auto semtimedop_call = call<int(int, sembuf*, std::size_t, const timespec*)>("semtimedop");
  const int set = semget(IPC_PRIVATE, 1, 0600);
  spawn([&] {
    sembuf take{0, -1, 0};
    const timespec timeout{0, 30000000};
    const Stopwatch watch;
    EXPECT_EQ(fails_with(EAGAIN), outcome_of([&] { return semtimedop_call(set, &take, 1, &timeout); }));
    EXPECT_GE(watch.seconds(), 0.03);
  });
  run();
  semctl(set, 0, IPC_RMID);
}

TEST_P(KernelCallsTest, SemaphoreThatIsRemovedEndsTheWait) {
  const auto semop_call = call<int(int, sembuf*, std::size_t)>("semop");
  const int set = semget(IPC_PRIVATE, 1, 0600);
  run_both(
      [&] {
        sembuf take{0, -1, 0};
        const Outcome outcome = outcome_of([&] { return semop_call(set, &take, 1); });
        EXPECT_TRUE(outcome == fails_with(EIDRM) || outcome == fails_with(EINVAL)) << outcome;
      },
      [&] { EXPECT_EQ(0, semctl(set, 0, IPC_RMID)); });
}

struct Message {
  long type;
  char text[8];
};

TEST_P(KernelCallsTest, MsgrcvWaitsForAMessage) {
  const auto receive = call<ssize_t(int, void*, std::size_t, long, int)>("msgrcv");
  const auto send = call<int(int, const void*, std::size_t, int)>("msgsnd");
  const int queue = msgget(IPC_PRIVATE, 0600);
  ASSERT_GE(queue, 0);
  spawn([&] {
    Message got{};
    EXPECT_EQ(fails_with(ENOMSG),
              outcome_of([&] { return receive(queue, &got, sizeof got.text, 2, IPC_NOWAIT); }));
  });
  run();
  run_both(
      [&] {
        Message got{};
        EXPECT_EQ(gives(4), outcome_of([&] { return receive(queue, &got, sizeof got.text, 2, 0); }));
        EXPECT_STREQ("abc", got.text);
      },
      [&] {
        const Message other{1, "xyz"}, sent{2, "abc"};
        EXPECT_EQ(gives(0), outcome_of([&] { return send(queue, &other, 4, 0); }));
        EXPECT_EQ(gives(0), outcome_of([&] { return send(queue, &sent, 4, 0); }));
      });
  msgctl(queue, IPC_RMID, nullptr);
}

TEST_P(KernelCallsTest, MsgsndWaitsForRoom) {
  const auto receive = call<ssize_t(int, void*, std::size_t, long, int)>("msgrcv");
  const auto send = call<int(int, const void*, std::size_t, int)>("msgsnd");
  const int queue = msgget(IPC_PRIVATE, 0600);
  const Message message{1, "abc"};
  while (msgsnd(queue, &message, sizeof message.text, IPC_NOWAIT) == 0) {
  }
  run_both(
      [&] { EXPECT_EQ(gives(0), outcome_of([&] { return send(queue, &message, sizeof message.text, 0); })); },
      [&] {
        Message got;
        EXPECT_EQ(gives(8), outcome_of([&] { return receive(queue, &got, sizeof got.text, 0, 0); }));
      });
  msgctl(queue, IPC_RMID, nullptr);
}

// --- POSIX queues ---------------------------------------------------------------------------------

class MessageQueueTest : public KernelCallsTest {
 protected:
  MessageQueueTest() {
    mq_attr attributes{};
    attributes.mq_maxmsg = 1;
    attributes.mq_msgsize = 8;
    const std::string name = "/kernel_calls_test_" + std::to_string(getpid());
    queue_ = mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attributes);
    mq_unlink(name.c_str());
    EXPECT_GE(queue_, 0);
  }
  ~MessageQueueTest() override { mq_close(queue_); }

  ssize_t receive(const timespec* until = nullptr) {
    char text[8];
    const auto timed =
        call<ssize_t(mqd_t, char*, std::size_t, unsigned int*, const timespec*)>("mq_timedreceive");
    const auto plain = call<ssize_t(mqd_t, char*, std::size_t, unsigned int*)>("mq_receive");
    return until != nullptr ? timed(queue_, text, sizeof text, nullptr, until)
                            : plain(queue_, text, sizeof text, nullptr);
  }
  int send() {
    return call<int(mqd_t, const char*, std::size_t, unsigned int)>("mq_send")(queue_, "abc", 3, 0);
  }

  mqd_t queue_;
};
INSTANTIATE_IN_BOTH_WORLDS(MessageQueueTest);

TEST_P(MessageQueueTest, ReceivingWaitsForAMessage) {
  run_both([&] { EXPECT_EQ(gives(3), outcome_of([&] { return receive(); })); },
           [&] { EXPECT_EQ(gives(0), outcome_of([&] { return send(); })); });
}

TEST_P(MessageQueueTest, SendingWaitsForRoom) {
  ASSERT_EQ(0, mq_send(queue_, "abc", 3, 0));
  run_both([&] { EXPECT_EQ(gives(0), outcome_of([&] { return send(); })); },
           [&] { EXPECT_EQ(gives(3), outcome_of([&] { return receive(); })); });
}

TEST_P(MessageQueueTest, ReceivingWaitsUntilItsTime) {
  spawn([&] {
    timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 30000000;
    if (until.tv_nsec >= 1000000000) ++until.tv_sec, until.tv_nsec -= 1000000000;
    EXPECT_EQ(fails_with(ETIMEDOUT), outcome_of([&] { return receive(&until); }));
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    EXPECT_TRUE(now.tv_sec > until.tv_sec || (now.tv_sec == until.tv_sec && now.tv_nsec >= until.tv_nsec));
  });
  run();
}

TEST_P(MessageQueueTest, OfAQueueThatIsNotToWaitDoesNot) {
  mq_attr attributes{};
  attributes.mq_flags = O_NONBLOCK;
  ASSERT_EQ(0, mq_setattr(queue_, &attributes, nullptr));
  spawn([&] { EXPECT_EQ(fails_with(EAGAIN), outcome_of([&] { return receive(); })); });
  run();
  EXPECT_EQ(0u, suspensions());
}

// --- Signals --------------------------------------------------------------------------------------

// The signal is blocked in every thread, as who waits for signals has it.
class SignalWaitTest : public KernelCallsTest {
 protected:
  SignalWaitTest() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGRTMIN + 3);
    pthread_sigmask(SIG_BLOCK, &set_, &before_);
  }
  ~SignalWaitTest() override { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  sigset_t set_, before_;
};
INSTANTIATE_IN_BOTH_WORLDS(SignalWaitTest);

TEST_P(SignalWaitTest, WaitsForASignalOfTheProcess) {
  run_both(
      [&] {
        int number = 0;
        EXPECT_EQ(0, (call<int(const sigset_t*, int*)>("sigwait")(&set_, &number)));
        EXPECT_EQ(SIGRTMIN + 3, number);
      },
      [&] { EXPECT_EQ(0, kill(getpid(), SIGRTMIN + 3)); });
}

TEST_P(SignalWaitTest, TellsWhatCameWithIt) {
  run_both(
      [&] {
        siginfo_t info{};
        EXPECT_EQ(SIGRTMIN + 3, (call<int(const sigset_t*, siginfo_t*)>("sigwaitinfo")(&set_, &info)));
        EXPECT_EQ(42, info.si_value.sival_int);
      },
      [&] {
        sigval value;
        value.sival_int = 42;
        EXPECT_EQ(0, sigqueue(getpid(), SIGRTMIN + 3, value));
      });
}

TEST_P(SignalWaitTest, EachSignalIsTakenOnce) {
  int taken = 0, late = 0;
  const auto wait = [&] {
    const timespec timeout{0, 200000000};
    int number = -1;
    do {  // A thread that another is quicker than hears of it.
      number =
          call<int(const sigset_t*, siginfo_t*, const timespec*)>("sigtimedwait")(&set_, nullptr, &timeout);
    } while (number == -1 && errno == EINTR);
    if (number == SIGRTMIN + 3) __atomic_fetch_add(&taken, 1, __ATOMIC_SEQ_CST);
    if (number == -1 && errno == EAGAIN) __atomic_fetch_add(&late, 1, __ATOMIC_SEQ_CST);
  };
  for (int i = 0; i < 3; ++i) spawn(wait);
  for (int i = 0; i < 2; ++i) kill(getpid(), SIGRTMIN + 3);
  run();
  EXPECT_EQ(2, taken);
  EXPECT_EQ(1, late);
}

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
