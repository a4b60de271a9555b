#include "plugin/loop/peer_watch.h"

#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <vector>

#include "tests/unit/loop/test_loop.h"

namespace unit {
namespace {

class PeerWatch : public LoopTest {
 protected:
  loop::Callback gone() {
    return {[](void* self) noexcept { ++static_cast<PeerWatch*>(self)->calls_; }, this};
  }
  int calls_ = 0;
};

TEST_F(PeerWatch, TellsOfACloseOnce) {
  Pair ends = socket_pair();
  loop::PeerWatch watch(the_loop(), gone());
  watch.start(ends.a.get());
  run_pending();
  EXPECT_FALSE(watch.is_gone());
  ends.b.close();
  run_pending();
  EXPECT_TRUE(watch.is_gone());
  run_pending();
  EXPECT_EQ(1, calls_);
}

TEST_F(PeerWatch, TellsOfACloseBehindBytesThatNobodyReads) {
  Pair ends = socket_pair();
  loop::PeerWatch watch(the_loop(), gone());
  watch.start(ends.a.get());
  ASSERT_EQ(4, write(ends.b.get(), "more", 4));
  run_pending();
  EXPECT_EQ(0, calls_);
  ends.b.close();
  run_pending();
  EXPECT_EQ(1, calls_);
}

TEST_F(PeerWatch, TellsOfAnEndThatSendsNoMore) {
  Pair ends = socket_pair();
  loop::PeerWatch watch(the_loop(), gone());
  watch.start(ends.a.get());
  shutdown(ends.b.get(), SHUT_WR);
  run_pending();
  EXPECT_EQ(1, calls_);
}

TEST_F(PeerWatch, SaysNothingOnceStopped) {
  Pair ends = socket_pair();
  {
    loop::PeerWatch watch(the_loop(), gone());
    watch.start(ends.a.get());
  }
  loop::PeerWatch again(the_loop(), gone());
  again.start(ends.a.get());
  again.stop();
  ends.b.close();
  run_pending();
  EXPECT_EQ(0, calls_);
}

// epoll goes on watching what another process, or a duplicate, still has open.
TEST_F(PeerWatch, HearsNothingMoreOfADescriptorThatWasClosedAndIsOpenElsewhere) {
  Pair ends = socket_pair();
  const int elsewhere = dup(ends.a.get());
  loop::PeerWatch watch(the_loop(), gone());
  watch.start(ends.a.get());
  ends.a.close();
  watch.stop();
  ends.b.close();
  run_pending();
  EXPECT_EQ(0, calls_);
  close(elsewhere);
}

TEST_F(PeerWatch, IsMadeAnewForTheNextRequest) {
  Pair ends = socket_pair();
  loop::PeerWatch watch(the_loop(), gone());
  for (int i = 0; i < 3; ++i) {
    watch.start(ends.a.get());
    run_pending();
    watch.stop();
  }
  watch.start(ends.a.get());
  ends.b.close();
  run_pending();
  EXPECT_EQ(1, calls_);
}

// What one tells may end the others, of which the kernel has told in the same breath.
TEST_F(PeerWatch, MayEndOthersThatAreGoneToo) {
  static std::vector<std::unique_ptr<loop::PeerWatch>> watches;
  static int calls;
  calls = 0;
  std::vector<Pair> pairs;
  for (int i = 0; i < 5; ++i) {
    pairs.push_back(socket_pair());
    watches.push_back(std::make_unique<loop::PeerWatch>(the_loop(), loop::Callback{[](void*) noexcept {
                                                                                     ++calls;
                                                                                     for (auto& watch :
                                                                                          watches)
                                                                                       watch->stop();
                                                                                   },
                                                                                   nullptr}));
    watches.back()->start(pairs.back().a.get());
  }
  for (Pair& pair : pairs) pair.b.close();
  run_pending();
  run_pending();
  EXPECT_EQ(1, calls);
  watches.clear();
}

TEST_F(PeerWatch, SaysNothingOfWhatIsNoConnection) {
  loop::PeerWatch watch(the_loop(), gone());
  watch.start(-1);
  run_pending();
  EXPECT_EQ(0, calls_);
}

}  // namespace
}  // namespace unit
