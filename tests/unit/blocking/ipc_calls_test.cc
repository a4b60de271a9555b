// Calls that wait for what only the kernel knows: the other end of a FIFO, queues, semaphores, signals.
#include <fcntl.h>
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/stat.h>

#include <csignal>
#include <cstdio>
#include <filesystem>

#include "tests/unit/blocking/kernel_calls.h"

namespace unit {
namespace {

class IpcCallsTest : public KernelCallsTest {};
INSTANTIATE_IN_BOTH_WORLDS(IpcCallsTest);

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

TEST_P(IpcCallsTest, SemopWaitsForTheSemaphore) {
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

TEST_P(IpcCallsTest, SemopThatIsNotToWaitDoesNot) {
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

TEST_P(IpcCallsTest, SemtimedopWaitsAsLong) {
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

TEST_P(IpcCallsTest, SemaphoreThatIsRemovedEndsTheWait) {
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

TEST_P(IpcCallsTest, MsgrcvWaitsForAMessage) {
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

TEST_P(IpcCallsTest, MsgsndWaitsForRoom) {
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

}  // namespace
}  // namespace unit
