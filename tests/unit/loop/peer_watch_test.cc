#include "plugin/loop/peer_watch.h"

#include <sys/socket.h>

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
  Pair ends_ = socket_pair();
};

TEST_F(PeerWatch, TellsOfACloseOnce) {
  loop::PeerWatch watch(the_loop(), gone());
  watch.start(ends_.a.get());
  run_pending();
  EXPECT_FALSE(watch.is_gone());
  ends_.b.close();
  run_pending();
  EXPECT_TRUE(watch.is_gone());
  run_pending();
  EXPECT_EQ(1, calls_);
}

TEST_F(PeerWatch, TellsOfACloseBehindBytesThatNobodyReads) {
  loop::PeerWatch watch(the_loop(), gone());
  watch.start(ends_.a.get());
  ASSERT_EQ(4, write(ends_.b.get(), "more", 4));
  run_pending();
  EXPECT_EQ(0, calls_);
  ends_.b.close();
  run_pending();
  EXPECT_EQ(1, calls_);
}

TEST_F(PeerWatch, TellsOfAnEndThatSendsNoMore) {
  loop::PeerWatch watch(the_loop(), gone());
  watch.start(ends_.a.get());
  shutdown(ends_.b.get(), SHUT_WR);
  run_pending();
  EXPECT_EQ(1, calls_);
}

TEST_F(PeerWatch, SaysNothingOnceStopped) {
  {
    loop::PeerWatch watch(the_loop(), gone());
    watch.start(ends_.a.get());
  }
  loop::PeerWatch again(the_loop(), gone());
  again.start(ends_.a.get());
  again.stop();
  ends_.b.close();
  run_pending();
  EXPECT_EQ(0, calls_);
}

TEST_F(PeerWatch, IsMadeAnewForTheNextRequest) {
  loop::PeerWatch watch(the_loop(), gone());
  for (int i = 0; i < 3; ++i) {
    watch.start(ends_.a.get());
    run_pending();
    watch.stop();
  }
  watch.start(ends_.a.get());
  ends_.b.close();
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
    watches.push_back(std::make_unique<loop::PeerWatch>(
        the_loop(), loop::Callback{[](void*) noexcept {
                                     ++calls;
                                     for (auto& watch : watches) watch->stop();
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
