// A websocket's bytes, cut anywhere: the messages are those of the same bytes in one piece.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <tuple>

#include "plugin/request/websocket_frames.h"

namespace {

using engine::FrameReader;
using Got = FrameReader::Got;
using Event = std::tuple<Got, std::string, bool, int>;

void feed(FrameReader& reader, std::string_view bytes) {
  while (!bytes.empty()) {
    const FrameReader::Room room = reader.room();
    if (room.size == 0) abort();
    const std::size_t part = std::min(room.size, bytes.size());
    std::memcpy(room.data, bytes.data(), part);
    reader.received(part);
    bytes.remove_prefix(part);
  }
}

// False once it is no websocket any more.
bool take(FrameReader& reader, std::vector<Event>& events, std::uint64_t max_size) {
  for (;;) {
    const Got got = reader.next();
    if (got == Got::kNothing) return true;
    const bool says_code = got == Got::kClose || got == Got::kBroken;
    events.emplace_back(got, std::string(reader.payload()), got == Got::kMessage && reader.is_text(),
                        says_code ? reader.close_code() : 0);
    if (got == Got::kMessage && reader.payload().size() > max_size) abort();
    if (got != Got::kMessage && reader.payload().size() > 125) abort();
    if (got == Got::kMessage && reader.is_text() != engine::is_utf8(reader.payload()) && reader.is_text())
      abort();
    if (got == Got::kBroken) return false;
    if (got == Got::kClose && reader.close_code() != engine::close_code::kNoneGiven &&
        !engine::close_code::may_be_sent(reader.close_code()))
      abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider bytes(data, size);
  const auto max_size = bytes.ConsumeIntegralInRange<std::uint64_t>(0, 100000);
  std::vector<std::size_t> cuts(bytes.ConsumeIntegralInRange<std::size_t>(0, 8));
  for (std::size_t& cut : cuts) cut = bytes.ConsumeIntegralInRange<std::size_t>(0, 4096);
  const std::string stream = bytes.ConsumeRemainingBytesAsString();

  std::vector<Event> whole, pieces;
  FrameReader one(max_size), many(max_size);
  feed(one, stream);
  take(one, whole, max_size);

  std::string_view left = stream;
  bool goes_on = true;
  for (std::size_t i = 0; goes_on && !left.empty(); ++i) {
    const std::size_t part =
        std::min(left.size(), cuts.empty() ? 1 : std::max<std::size_t>(1, cuts[i % cuts.size()]));
    feed(many, left.substr(0, part));
    left.remove_prefix(part);
    goes_on = take(many, pieces, max_size);
  }
  if (whole != pieces) abort();
  return 0;
}
