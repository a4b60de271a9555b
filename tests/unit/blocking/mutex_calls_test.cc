// A mutex that a C library keeps while its fiber is suspended keeps the other fibers out.
#include "plugin/blocking/groups.h"

#include <pthread.h>

#include "plugin/blocking/wait.h"
#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

using MutexCall = int(pthread_mutex_t*);

MutexCall* find(const std::string& name) {
  for (const blocking::Call& call : blocking::mutex_calls()) {
    if (name == call.name) return reinterpret_cast<MutexCall*>(call.replacement);
  }
  std::abort();
}

MutexCall* const lock = find("pthread_mutex_lock");
MutexCall* const trylock = find("pthread_mutex_trylock");
MutexCall* const unlock = find("pthread_mutex_unlock");

class MutexTest : public FibersTest, public ::testing::WithParamInterface<int> {
 protected:
  MutexTest() {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, GetParam());
    pthread_mutex_init(&mutex_, &attributes);
    pthread_mutexattr_destroy(&attributes);
  }
  ~MutexTest() override { EXPECT_EQ(0, pthread_mutex_destroy(&mutex_)); }

  void wait_a_while() { blocking::sleep_until(*suspend::Fiber::current(), blocking::Deadline::after(0.005)); }
  void hold_a_while() {
    ASSERT_EQ(0, lock(&mutex_));
    most_inside_ = std::max(most_inside_, ++inside_);
    order_.push_back(++entered_);
    wait_a_while();
    --inside_;
    EXPECT_EQ(0, unlock(&mutex_));
  }

  pthread_mutex_t mutex_;
  int inside_ = 0;
  int most_inside_ = 0;
  int entered_ = 0;
  std::vector<int> order_;
};

INSTANTIATE_TEST_SUITE_P(Of, MutexTest,
                         ::testing::Values(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE,
                                           PTHREAD_MUTEX_ERRORCHECK),
                         [](const auto& test) {
                           return std::string(test.param == PTHREAD_MUTEX_NORMAL      ? "Normal"
                                              : test.param == PTHREAD_MUTEX_RECURSIVE ? "Recursive"
                                                                                      : "ErrorCheck");
                         });

TEST_P(MutexTest, OfASuspendedFiberSuspendsTheOthers) {
  for (int i = 0; i < 10; ++i) spawn([this] { hold_a_while(); });
  EXPECT_EQ(1, inside_);
  run();
  EXPECT_EQ(1, most_inside_);
  EXPECT_EQ(10, entered_);
}

// The caller has given nothing up: the kernel would stop the thread, or let it in.
TEST_P(MutexTest, OfASuspendedFiberSuspendsWhoKeepsTheGilToo) {
  spawn([this] { hold_a_while(); });
  gate_.open = false;
  for (int i = 0; i < 10; ++i) spawn([this] { hold_a_while(); });
  EXPECT_EQ(1, inside_);
  gate_.open = true;
  run();
  EXPECT_EQ(1, most_inside_);
  EXPECT_EQ(11, entered_);
}

TEST_P(MutexTest, OfASuspendedFiberMakesTheLoopTurn) {
  spawn([this] { hold_a_while(); });
  gate_.turned = &the_loop();
  EXPECT_EQ(0, lock(&mutex_));
  EXPECT_EQ(0, inside_);
  EXPECT_EQ(0, unlock(&mutex_));
  run();
}

TEST_P(MutexTest, OfASuspendedFiberIsBusyToATry) {
  spawn([this] { hold_a_while(); });
  spawn([this] {
    EXPECT_EQ(EBUSY, trylock(&mutex_));
    ASSERT_EQ(0, lock(&mutex_));
    EXPECT_EQ(GetParam() == PTHREAD_MUTEX_RECURSIVE ? 0 : EBUSY, trylock(&mutex_));
    if (GetParam() == PTHREAD_MUTEX_RECURSIVE) unlock(&mutex_);
    EXPECT_EQ(0, unlock(&mutex_));
  });
  run();
}

TEST_P(MutexTest, OfAThreadIsWaitedFor) {
  pthread_mutex_lock(&mutex_);
  std::thread other([this] { EXPECT_EQ(EBUSY, trylock(&mutex_)); });
  other.join();
  pthread_mutex_unlock(&mutex_);
  sem_t held, release;
  sem_init(&held, 0, 0), sem_init(&release, 0, 0);
  std::thread holder([&] {
    EXPECT_EQ(0, lock(&mutex_));
    sem_post(&held);
    sem_wait(&release);
    EXPECT_EQ(0, unlock(&mutex_));
  });
  sem_wait(&held);
  sem_post(&release);
  spawn([this] { hold_a_while(); });
  run();
  holder.join();
}

TEST_P(MutexTest, WhereNobodyCouldEverGoOnTheProcessEndsAndSaysWhy) {
  spawn([this] { hold_a_while(); });
  gate_.open = gate_.able = false;
  EXPECT_DEATH(spawn([this] { hold_a_while(); }), "a suspended request holds");
  gate_.open = gate_.able = true;
  run();
}

}  // namespace
}  // namespace unit
