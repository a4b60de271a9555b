// A gate for tests, and fixtures that run bodies on fibers with the redirected calls.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "plugin/blocking/gate.h"
#include "plugin/blocking/lock_calls.h"
#include "plugin/blocking/replacements.h"
#include "plugin/blocking/tally.h"
#include "tests/unit/descriptors.h"
#include "tests/unit/suspend/bare_observer.h"

namespace unit {

// Suspends every fiber that asks, while open.
class TestGate final : public blocking::Gate {
 public:
  bool open = true;
  bool able = true;  // To suspend a fiber whose caller has given nothing up.
  suspend::Fiber* may_suspend() noexcept override { return open ? suspend::Fiber::current() : nullptr; }
  suspend::Fiber* can_suspend() noexcept override { return able ? suspend::Fiber::current() : nullptr; }
  int times_asked_why_not = 0;
  blocking::Refusal why_not() noexcept override {
    ++times_asked_why_not;
    return open ? blocking::Refusal::kNone : blocking::Refusal::kGuarded;
  }
  int lock_waits_interrupted = 0;
  void lock_wait_interrupted(suspend::Fiber&) noexcept override { ++lock_waits_interrupted; }

  // Set: what the loop's own stack waits for is waited for by turning it.
  loop::IoLoop* turned = nullptr;
  bool may_turn() noexcept override {
    return turned != nullptr && blocking::on_loop_thread() && suspend::Fiber::current() == nullptr;
  }
  bool can_turn() noexcept override { return may_turn(); }
  void turn() noexcept override { turned->turn(); }
};

// The redirected calls, by name, as CPython itself makes them, with the signatures of their manual pages.
struct Calls {
  Calls() {
    const auto find = [](const char* name, auto*& function) {
      for (const blocking::Replacement& one : blocking::replacements()) {
        const auto scope = static_cast<unsigned>(one.scope);
        if (std::string(name) == one.name &&
            (scope & static_cast<unsigned>(blocking::Scope::kLibpythonOnly)) != 0) {
          function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(one.replacement);
        }
      }
      if (function == nullptr) std::abort();
    };
    find("poll", poll), find("ppoll", ppoll), find("select", select), find("pselect", pselect);
    find("epoll_wait", epoll_wait), find("epoll_pwait", epoll_pwait);
    find("recv", recv), find("recvfrom", recvfrom), find("recvmsg", recvmsg);
    find("send", send), find("sendto", sendto), find("sendmsg", sendmsg);
    find("sendfile", sendfile);
    find("read", read), find("readv", readv), find("write", write), find("writev", writev);
    find("open", open), find("connect", connect), find("accept", accept), find("accept4", accept4);
    find("close", close), find("dup2", dup2), find("dup3", dup3);
    find("close_range", close_range), find("closefrom", closefrom);
    find("nanosleep", nanosleep), find("clock_nanosleep", clock_nanosleep);
    find("usleep", usleep), find("sleep", sleep);
    find("sem_wait", sem_wait), find("sem_timedwait", sem_timedwait);
    find("sem_clockwait", sem_clockwait), find("sem_post", sem_post);
  }

  int (*poll)(pollfd*, nfds_t, int) = nullptr;
  int (*ppoll)(pollfd*, nfds_t, const timespec*, const sigset_t*) = nullptr;
  int (*select)(int, fd_set*, fd_set*, fd_set*, timeval*) = nullptr;
  int (*pselect)(int, fd_set*, fd_set*, fd_set*, const timespec*, const sigset_t*) = nullptr;
  int (*epoll_wait)(int, epoll_event*, int, int) = nullptr;
  int (*epoll_pwait)(int, epoll_event*, int, int, const sigset_t*) = nullptr;
  ssize_t (*recv)(int, void*, size_t, int) = nullptr;
  ssize_t (*recvfrom)(int, void*, size_t, int, sockaddr*, socklen_t*) = nullptr;
  ssize_t (*recvmsg)(int, msghdr*, int) = nullptr;
  ssize_t (*send)(int, const void*, size_t, int) = nullptr;
  ssize_t (*sendto)(int, const void*, size_t, int, const sockaddr*, socklen_t) = nullptr;
  ssize_t (*sendmsg)(int, const msghdr*, int) = nullptr;
  ssize_t (*sendfile)(int, int, off_t*, size_t) = nullptr;
  ssize_t (*read)(int, void*, size_t) = nullptr;
  ssize_t (*readv)(int, const iovec*, int) = nullptr;
  ssize_t (*write)(int, const void*, size_t) = nullptr;
  ssize_t (*writev)(int, const iovec*, int) = nullptr;
  int (*open)(const char*, int, ...) = nullptr;
  int (*connect)(int, const sockaddr*, socklen_t) = nullptr;
  int (*accept)(int, sockaddr*, socklen_t*) = nullptr;
  int (*accept4)(int, sockaddr*, socklen_t*, int) = nullptr;
  int (*close)(int) = nullptr;
  int (*dup2)(int, int) = nullptr;
  int (*dup3)(int, int, int) = nullptr;
  int (*close_range)(unsigned int, unsigned int, int) = nullptr;
  void (*closefrom)(int) = nullptr;
  int (*nanosleep)(const timespec*, timespec*) = nullptr;
  int (*clock_nanosleep)(clockid_t, int, const timespec*, timespec*) = nullptr;
  int (*usleep)(useconds_t) = nullptr;
  unsigned int (*sleep)(unsigned int) = nullptr;
  int (*sem_wait)(sem_t*) = nullptr;
  int (*sem_timedwait)(sem_t*, const timespec*) = nullptr;
  int (*sem_clockwait)(sem_t*, clockid_t, const timespec*) = nullptr;
  int (*sem_post)(sem_t*) = nullptr;
};

inline const Calls& calls() {
  static const Calls found;
  return found;
}

// Who makes the calls. On a real thread every redirected call is libc's, so a test that
// passes in both worlds shows that fibers see what the manual page promises.
enum class World { kThreads, kFibers };

inline std::string name_of(World world) { return world == World::kThreads ? "OnThreads" : "OnFibers"; }

// Runs bodies side by side. At its end nothing may be left: no fiber, watcher or descriptor.
class WorldTest : public ::testing::Test {
 protected:
  explicit WorldTest(World world) : world_(world) {}
  // Once a test's own descriptors are gone too.
  ~WorldTest() override {
    EXPECT_EQ(descriptors_before_, open_descriptors());
    alarm(0);
  }

  void SetUp() override {
    watchers_before_ = loop::active_watchers;
    loop_.emplace();
    blocking::open_gate(&gate_, &*loop_);
    suspensions_before_ = suspensions_so_far();
    std::signal(SIGALRM, &on_hang);
    alarm(120);
  }

  void TearDown() override {
    ASSERT_EQ(0u, running()) << "the test did not run() what it spawned";
    bodies_.clear();
    EXPECT_EQ(0, suspend::Fiber::count());
    EXPECT_EQ(0, blocking::fibers_waiting_for_locks());
    blocking::open_gate(nullptr, nullptr);
    loop_.reset();
    EXPECT_EQ(watchers_before_, loop::active_watchers);
  }

  // Starts a body; a fiber runs at once until it first waits.
  void spawn(std::function<void()> work) {
    bodies_.push_back(std::make_unique<Body>(*this, std::move(work)));
  }

  // Returns once every body has ended.
  void run() { run_until_running(0); }

  // Returns once no more than so many bodies still run; on threads, none.
  void run_until_running(std::size_t count) {
    while (running() > count) {
      if (on_fibers()) loop_->run();
      else
        for (auto& body : bodies_) body->join();
    }
  }

  std::size_t running() const {
    std::size_t count = 0;
    for (const auto& body : bodies_) count += body->done() ? 0 : 1;
    return count;
  }

  // One turn that does not sleep.
  void look_at_the_loop() {
    // A callback queued by a callback keeps the turn from sleeping.
    the_loop().add_callback(
        {[](void* loop) noexcept {
           static_cast<loop::IoLoop*>(loop)->add_callback({[](void*) noexcept {}, nullptr});
         },
         &the_loop()});
    the_loop().turn();
  }

  // How often a call has suspended a fiber in this test.
  std::uint64_t suspensions() const { return suspensions_so_far() - suspensions_before_; }

  bool on_fibers() const { return world_ == World::kFibers; }
  loop::IoLoop& the_loop() { return *loop_; }

  TestGate gate_;

 private:
  class Body {
   public:
    Body(WorldTest& test, std::function<void()> work) : test_(test), work_(std::move(work)) {
      if (!test.on_fibers()) {
        thread_ = std::thread(work_);
        return;
      }
      fiber_.emplace(256 * 1024, observer_);
      fiber_->start([](void* self) noexcept { static_cast<Body*>(self)->run_on_fiber(); }, this);
    }
    bool done() const { return fiber_ ? fiber_->idle() : !thread_.joinable(); }
    void join() {
      if (thread_.joinable()) thread_.join();
    }

   private:
    // Wakes run() as the last thing it does.
    void run_on_fiber() {
      work_();
      test_.loop_->stop();
    }

    WorldTest& test_;
    std::function<void()> work_;
    suspend::BareObserver observer_;
    std::optional<suspend::Fiber> fiber_;
    std::thread thread_;
  };

  // Counted once the first close of a thread has opened what it keeps for all of them.
  static std::size_t descriptors_at_start() {
    static const bool thread_has_closed = [] {
      loop::IoLoop loop;
      TestGate gate;
      blocking::open_gate(&gate, &loop);
      std::thread([] { calls().close(dup(STDERR_FILENO)); }).join();
      blocking::open_gate(nullptr, nullptr);
      return true;
    }();
    (void)thread_has_closed;
    return open_descriptors();
  }

  static std::uint64_t suspensions_so_far() {
    std::uint64_t sum = 0;
    for (const blocking::Tally* tally = blocking::Tally::first(); tally != nullptr; tally = tally->next) {
      sum += tally->suspended;
    }
    return sum;
  }

  static void on_hang(int) {
    static const char message[] = "\nthis test hangs\n";
    (void)!::write(2, message, sizeof message - 1);
    std::abort();
  }

  const World world_;
  std::optional<loop::IoLoop> loop_;
  std::vector<std::unique_ptr<Body>> bodies_;
  const std::size_t descriptors_before_ = descriptors_at_start();
  int watchers_before_ = 0;
  std::uint64_t suspensions_before_ = 0;
};

// Where only fibers are looked at.
class FibersTest : public WorldTest {
 protected:
  FibersTest() : WorldTest(World::kFibers) {}
};

// The same test on fibers and on real threads.
class BothWorldsTest : public WorldTest, public ::testing::WithParamInterface<World> {
 protected:
  BothWorldsTest() : WorldTest(GetParam()) {}
};

#define INSTANTIATE_IN_BOTH_WORLDS(suite)                                                    \
  INSTANTIATE_TEST_SUITE_P(Calls, suite, ::testing::Values(World::kThreads, World::kFibers), \
                           [](const auto& test) { return name_of(test.param); })

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  }

 private:
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

// The result of a call and the errno it left.
struct Outcome {
  ssize_t result;
  int error;
  bool operator==(const Outcome& other) const { return result == other.result && error == other.error; }
};

inline std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
  return out << outcome.result << " with errno " << outcome.error << " (" << std::strerror(outcome.error)
             << ")";
}

// Watches, on a thread of its own, that an open file never seems to have O_NONBLOCK to
// others who have it, too.
class SeenByOthers {
 public:
  explicit SeenByOthers(const Fd& fd) : others_(dup(fd.get())) {
    watcher_ = std::thread([this] {
      while (!over_) nonblocking_ = nonblocking_ || (fcntl(others_.get(), F_GETFL) & O_NONBLOCK) != 0;
    });
  }
  bool as_nonblocking() {
    over_ = true;
    watcher_.join();
    others_.close();
    return nonblocking_;
  }

 private:
  Fd others_;
  std::atomic<bool> over_{false};
  std::atomic<bool> nonblocking_{false};
  std::thread watcher_;
};

// Calls with errno 0, so that a success that touches it shows.
template <typename Call>
Outcome outcome_of(Call call) {
  errno = 0;
  const ssize_t result = call();
  return {result, errno};
}

inline Outcome fails_with(int error) { return {-1, error}; }
inline Outcome gives(std::size_t result) { return {static_cast<ssize_t>(result), 0}; }

}  // namespace unit
