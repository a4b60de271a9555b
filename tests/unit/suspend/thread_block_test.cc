// A fiber is a thread to C: what libc and the compiler keep per thread is its own.
#include "suspend/thread_block.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "suspend/fiber.h"
#include "tests/unit/suspend/bare_observer.h"

namespace {

using suspend::Fiber;

// A fiber that runs what it is given.
class Thread {
 public:
  void run(std::function<void()> body) {
    body_ = std::move(body);
    fiber_.start([](void* self) noexcept { static_cast<Thread*>(self)->body_(); }, this);
  }
  void go_on() { fiber_.resume(); }
  Fiber& fiber() { return fiber_; }

 private:
  suspend::BareObserver observer_;
  Fiber fiber_{256u << 10, observer_};
  std::function<void()> body_;
};

void suspend_here() { Fiber::current()->suspend(); }

std::vector<std::string> ended;

struct Named {
  std::string name = "nobody";
  ~Named() { ended.push_back(name); }
};

thread_local Named named;
thread_local int number = 7;

TEST(ThreadBlock, HasThreadLocalDataOfItsOwn) {
  number = 1;
  Thread a, b;
  int seen_by_a = 0;
  a.run([&] {
    EXPECT_EQ(7, number);
    number = 2;
    suspend_here();
    seen_by_a = number;
  });
  b.run([] { number = 3; });
  EXPECT_EQ(1, number);
  a.go_on();
  EXPECT_EQ(2, seen_by_a);
}

TEST(ThreadBlock, RunsDestructorsAtItsEndOverItsOwnData) {
  ended.clear();
  {
    Thread a, b;
    a.run([] { named.name = "a"; });
    b.run([] { named.name = "b"; });
    EXPECT_TRUE(ended.empty());
  }
  EXPECT_EQ((std::vector<std::string>{"b", "a"}), ended);
}

std::vector<void*> keys_ended;

TEST(ThreadBlock, HasPthreadKeysOfItsOwnWithTheirDestructors) {
  keys_ended.clear();
  pthread_key_t key;
  ASSERT_EQ(0, pthread_key_create(&key, [](void* value) { keys_ended.push_back(value); }));
  int here, there;
  pthread_setspecific(key, &here);
  {
    Thread a;
    a.run([&] {
      EXPECT_EQ(nullptr, pthread_getspecific(key));
      pthread_setspecific(key, &there);
    });
    EXPECT_EQ(&here, pthread_getspecific(key));
  }
  pthread_key_delete(key);
  EXPECT_EQ(std::vector<void*>{&there}, keys_ended);
}

TEST(ThreadBlock, HasErrnoAndExceptionsOfItsOwn) {
  Thread a, b;
  const auto program = [](int error, const char* text) {
    return [=] {
      try {
        throw std::runtime_error(text);
      } catch (const std::exception& e) {
        errno = error;
        suspend_here();
        EXPECT_EQ(error, errno);
        try {
          throw;
        } catch (const std::exception& again) {
          EXPECT_STREQ(text, again.what());
        }
      }
    };
  };
  a.run(program(EBADF, "a"));
  b.run(program(ENOENT, "b"));
  a.go_on();
  b.go_on();
}

TEST(ThreadBlock, IsAThreadOfItsOwnToPthreadSelf) {
  Thread a, b;
  pthread_t first = 0, second = 0;
  a.run([&] { first = pthread_self(); });
  b.run([&] { second = pthread_self(); });
  EXPECT_EQ(a.fiber().thread().id(), first);
  EXPECT_FALSE(pthread_equal(first, second));
  EXPECT_FALSE(pthread_equal(first, pthread_self()));
}

TEST(ThreadBlock, OwnsItsMutexes) {
  pthread_mutexattr_t recursive;
  pthread_mutexattr_init(&recursive);
  pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_t mutex;
  pthread_mutex_init(&mutex, &recursive);
  Thread a, b;
  a.run([&] {
    EXPECT_EQ(0, pthread_mutex_lock(&mutex));
    suspend_here();
    pthread_mutex_unlock(&mutex);
  });
  b.run([&] { EXPECT_EQ(EBUSY, pthread_mutex_trylock(&mutex)); });
  EXPECT_EQ(EBUSY, pthread_mutex_trylock(&mutex));
  a.go_on();
  EXPECT_EQ(0, pthread_mutex_trylock(&mutex));
  pthread_mutex_unlock(&mutex);
}

TEST(ThreadBlock, KnowsItsStack) {
  Thread a;
  a.run([&a] {
    const suspend::ThreadBlock::OnKernelThread here_runs(a.fiber().thread());
    pthread_attr_t attributes;
    ASSERT_EQ(0, pthread_getattr_np(pthread_self(), &attributes));
    void* bottom;
    std::size_t size;
    pthread_attr_getstack(&attributes, &bottom, &size);
    pthread_attr_destroy(&attributes);
    const char here = 0;
    EXPECT_GT(&here, static_cast<char*>(bottom));
    EXPECT_LT(&here, static_cast<char*>(bottom) + size);
  });
}

// One cache of free memory for all fibers of an OS thread: what one frees another is given.
#if !defined(__SANITIZE_ADDRESS__)
TEST(ThreadBlock, SharesTheAllocatorOfItsOsThread) {
  Thread a, b;
  void* volatile block = std::malloc(1000);
  void* volatile freed = nullptr;
  a.run([&] {
    // Earlier tests may have left the cache full of this size. It has a block now, gives one, and so has room
    // for that one.
    std::free(block);
    freed = std::malloc(1000);
    std::free(freed);
  });
  void* volatile taken = nullptr;
  b.run([&] { taken = std::malloc(1000); });
  EXPECT_EQ(freed, taken);
  std::free(taken);
}
#endif

TEST(ThreadBlock, AsksTheKernelWhichCpuItIsOn) {
  Thread a;
  cpu_set_t one;
  ASSERT_EQ(0, sched_getaffinity(0, sizeof one, &one));
  const cpu_set_t before = one;
  int cpu = 0;
  while (!CPU_ISSET(cpu, &before)) ++cpu;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  sched_setaffinity(0, sizeof one, &one);
  int seen = -1;
  a.run([&] { seen = sched_getcpu(); });
  sched_setaffinity(0, sizeof before, &before);
  EXPECT_EQ(cpu, seen);
}

TEST(ThreadBlock, StartsThreads) {
  Thread a;
  a.run([] {
    number = 1;
    int seen = 0;
    std::thread([&] { seen = number; }).join();
    EXPECT_EQ(7, seen);
  });
}

TEST(ThreadBlock, ForksAsAThreadDoes) {
  Thread a, other;
  other.run([] { suspend_here(); });
  int status = -1;
  a.run([&] {
    number = 5;
    const pid_t child = fork();
    if (child == 0) {
      int seen = 0;
      std::thread([&] { seen = number; }).join();
      _exit(number == 5 && seen == 7 ? 3 : 4);
    }
    waitpid(child, &status, 0);
  });
  other.go_on();
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(3, WEXITSTATUS(status));
}

// libm has thread-local data of no kind, a library of the compiler's has: it is loaded while fibers are
// there.
TEST(ThreadBlock, HasThreadLocalDataOfLibrariesLoadedLater) {
  Thread a, b;
  a.run([] { suspend_here(); });
  void* const library = dlopen("libgomp.so.1", RTLD_NOW);
  if (library == nullptr) GTEST_SKIP() << "there is no libgomp";
  const auto set = reinterpret_cast<void (*)(int)>(dlsym(library, "omp_set_num_threads"));
  const auto get = reinterpret_cast<int (*)()>(dlsym(library, "omp_get_max_threads"));
  set(3);
  b.run([&] {
    set(5);
    suspend_here();
    EXPECT_EQ(5, get());
  });
  EXPECT_EQ(3, get());
  a.go_on();
  b.go_on();
}

std::set<std::string> kernel_threads() {
  std::set<std::string> threads;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task"))
    threads.insert(thread.path().filename());
  return threads;
}

// A thread is listed for a moment more than it runs: so may those of earlier tests be, in `before`.
void expect_no_kernel_thread_but(const std::set<std::string>& before) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  const auto all_known = [&] {
    const auto now = kernel_threads();
    return std::includes(before.begin(), before.end(), now.begin(), now.end());
  };
  while (!all_known() && std::chrono::steady_clock::now() < end) sched_yield();
  EXPECT_TRUE(all_known());
}

TEST(ThreadBlock, LeavesNoKernelThreads) {
  const auto before = kernel_threads();
  std::vector<std::unique_ptr<Thread>> many;
  for (int i = 0; i < 200; ++i) {
    many.push_back(std::make_unique<Thread>());
    many.back()->run([] { number = 1; });
  }
  expect_no_kernel_thread_but(before);
  many.clear();
  expect_no_kernel_thread_but(before);
}

}  // namespace
