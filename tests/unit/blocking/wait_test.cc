#include "plugin/blocking/wait.h"

#include "tests/unit/blocking/test_gate.h"

namespace unit {
namespace {

using blocking::Abort;
using blocking::Deadline;
using blocking::Woken;

class WaitTest : public FibersTest {
 protected:
  // The descriptors that a poll() for `events` opens while it waits.
  std::size_t opened_while_polling(short events) {
    const Pair sockets = socket_pair();
    const std::size_t before = open_descriptors();
    spawn([&] {
      pollfd descriptor{sockets.a.get(), events, 0};
      EXPECT_EQ(1, calls().poll(&descriptor, 1, -1));
    });
    const std::size_t opened = open_descriptors() - before;
    EXPECT_EQ(1, calls().send(sockets.b.get(), "x", 1, 0));
    run();
    return opened;
  }
};

// libpq asks so at each wait.
TEST_F(WaitTest, PollForErrorsBesideReadingNeedsNoDescriptorOfItsOwn) {
  EXPECT_EQ(0u, opened_while_polling(POLLIN));
  EXPECT_EQ(0u, opened_while_polling(POLLIN | POLLERR));
  EXPECT_EQ(0u, opened_while_polling(POLLIN | POLLHUP | POLLNVAL));
  EXPECT_EQ(1u, opened_while_polling(POLLIN | POLLRDHUP));
}

TEST_F(WaitTest, ABatonIsPostedByItsDeadline) {
  spawn([] {
    suspend::Baton baton(*suspend::Fiber::current(), "something", Abort::kAllowed);
    EXPECT_EQ(Woken::kTimedOut, blocking::wait(baton, Deadline::after(0.005)));
  });
  run();
}

TEST_F(WaitTest, ADeadlineThatIsOverIsATurnOfTheLoop) {
  spawn([] {
    suspend::Baton baton(*suspend::Fiber::current(), "something", Abort::kAllowed);
    EXPECT_EQ(Woken::kTimedOut, blocking::wait(baton, Deadline::after(-1)));
  });
  EXPECT_EQ(1u, running());
  run();
}

TEST_F(WaitTest, AThreadPostsThroughTheLoop) {
  spawn([] {
    suspend::Baton baton(*suspend::Fiber::current(), "something", Abort::kAllowed);
    std::thread thread([&] { baton.post_soon(); });
    EXPECT_EQ(Woken::kPosted, blocking::wait(baton, Deadline::after(60)));
    thread.join();
  });
  run();
}

}  // namespace
}  // namespace unit
