#include "plugin/loop/ready_queue.h"

#include <gtest/gtest.h>

namespace loop {
namespace {

struct Log {
  ReadyQueue queue;
  std::vector<int> ran;
};

struct Entry {
  Log* log;
  int number;
  Callback callback() {
    return {[](void* self) noexcept {
              auto* entry = static_cast<Entry*>(self);
              entry->log->ran.push_back(entry->number);
            },
            this};
  }
};

TEST(ReadyQueue, RunsFirstInFirstOut) {
  Log log;
  Entry entries[] = {{&log, 1}, {&log, 2}, {&log, 3}};
  for (Entry& entry : entries) log.queue.push(entry.callback());
  log.queue.run();
  EXPECT_EQ((std::vector<int>{1, 2, 3}), log.ran);
  EXPECT_TRUE(log.queue.empty());
}

TEST(ReadyQueue, IsEmptyAtFirstAndRunsNothing) {
  ReadyQueue queue;
  EXPECT_TRUE(queue.empty());
  queue.run();
  EXPECT_TRUE(queue.empty());
}

// A callback that always queues another must not keep the loop from its events.
TEST(ReadyQueue, LeavesWhatACallbackQueuesToTheNextRun) {
  struct Again {
    ReadyQueue queue;
    int runs = 0;
    static void run(void* self) noexcept {
      auto* again = static_cast<Again*>(self);
      ++again->runs;
      again->queue.push({&Again::run, self});
    }
  } again;
  again.queue.push({&Again::run, &again});
  again.queue.run();
  EXPECT_EQ(1, again.runs);
  EXPECT_FALSE(again.queue.empty());
  again.queue.run();
  EXPECT_EQ(2, again.runs);
}

TEST(ReadyQueue, ARunInsideACallbackTakesOverWhatIsLeft) {
  Log log;
  Entry last{&log, 2};
  log.queue.push({[](void* argument) noexcept {
                    auto* inside = static_cast<Log*>(argument);
                    inside->queue.run();
                    inside->ran.push_back(1);
                  },
                  &log});
  log.queue.push(last.callback());
  log.queue.run();
  EXPECT_EQ((std::vector<int>{2, 1}), log.ran);
}

// More than the queue compacts at once, with as many added while it runs.
TEST(ReadyQueue, KeepsTheOrderOfManyCallbacks) {
  struct Chain {
    ReadyQueue queue;
    std::vector<std::size_t> ran;
    struct Link {
      Chain* chain;
      std::size_t number;
    };
    std::vector<Link> links;
    static void run(void* self) noexcept {
      auto* link = static_cast<Link*>(self);
      Chain* chain = link->chain;
      chain->ran.push_back(link->number);
      const std::size_t next = link->number + 5000;
      if (next < chain->links.size()) chain->queue.push({&Chain::run, &chain->links[next]});
    }
  } chain;
  for (std::size_t i = 0; i < 20000; ++i) chain.links.push_back({&chain, i});
  for (std::size_t i = 0; i < 5000; ++i) chain.queue.push({&Chain::run, &chain.links[i]});
  while (!chain.queue.empty()) chain.queue.run();
  ASSERT_EQ(20000u, chain.ran.size());
  for (std::size_t i = 0; i < chain.ran.size(); ++i) ASSERT_EQ(i, chain.ran[i]);
}

}  // namespace
}  // namespace loop
