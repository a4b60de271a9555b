#include "plugin/exchange/chunked_decoder.h"

#include <algorithm>

namespace engine {
namespace {

constexpr unsigned kDigitsMax = 15;  // No 64-bit size is longer.
constexpr std::size_t kOverheadMax = 16384;

// -1: none.
int digit_of(char byte) noexcept {
  if (byte >= '0' && byte <= '9') return byte - '0';
  if (byte >= 'a' && byte <= 'f') return byte - 'a' + 10;
  if (byte >= 'A' && byte <= 'F') return byte - 'A' + 10;
  return -1;
}

}  // namespace

std::string_view ChunkedDecoder::next(std::string_view& bytes, std::size_t most) noexcept {
  while (!bytes.empty() && !ended() && !broken()) {
    if (at_ == At::kData) {
      const std::string_view data =
          bytes.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(size_, most)));
      bytes.remove_prefix(data.size());
      size_ -= data.size();
      if (size_ == 0) at_ = At::kDataReturn;
      return data;
    }
    at_ = step(bytes.front());
    bytes.remove_prefix(1);
  }
  return {};
}

ChunkedDecoder::At ChunkedDecoder::step(char byte) noexcept {
  switch (at_) {
    case At::kSize:
      if (const int digit = digit_of(byte); digit >= 0) {
        size_ = size_ * 16 + static_cast<unsigned>(digit);
        return ++digits_ > kDigitsMax ? At::kBroken : At::kSize;
      }
      if (digits_ == 0) return At::kBroken;
      return byte == '\r' ? At::kSizeEnd : byte == ';' ? At::kExtension : At::kBroken;
    case At::kExtension:
      if (byte == '\n' || ++overhead_ > kOverheadMax) return At::kBroken;
      return byte == '\r' ? At::kSizeEnd : At::kExtension;
    case At::kSizeEnd: return byte == '\n' ? size_ended() : At::kBroken;
    case At::kDataReturn: return byte == '\r' ? At::kDataEnd : At::kBroken;
    case At::kDataEnd: return byte == '\n' ? At::kSize : At::kBroken;
    case At::kTrailer:
      if (byte == '\n') return trailer_line_ended();
      if (returned_ || ++overhead_ > kOverheadMax) return At::kBroken;
      returned_ = byte == '\r';
      ++line_size_;
      return At::kTrailer;
    case At::kData:
    case At::kEnd:
    case At::kBroken: break;
  }
  return At::kBroken;
}

ChunkedDecoder::At ChunkedDecoder::size_ended() noexcept {
  digits_ = 0;
  overhead_ = 0;
  return size_ > 0 ? At::kData : At::kTrailer;
}

// The empty line is the end.
ChunkedDecoder::At ChunkedDecoder::trailer_line_ended() noexcept {
  if (!returned_) return At::kBroken;
  const bool empty = line_size_ == 1;
  returned_ = false;
  line_size_ = 0;
  return empty ? At::kEnd : At::kTrailer;
}

}  // namespace engine
