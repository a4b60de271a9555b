// A request body in chunks (RFC 9112, section 7.1). Knows bytes only: no connection, no Python.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace engine {

// Takes exactly what the standard writes: another server on the way must not see another end than this one.
class ChunkedDecoder {
 public:
  // Takes from `bytes`, and returns what it has come by first: up to `most` bytes of one chunk's data, which
  // are of `bytes`; nothing where all was taken, at the end, or where what follows is no chunk.
  std::string_view next(std::string_view& bytes, std::size_t most) noexcept;
  bool ended() const noexcept { return at_ == At::kEnd; }
  bool broken() const noexcept { return at_ == At::kBroken; }

 private:
  enum class At { kSize, kExtension, kSizeEnd, kData, kDataReturn, kDataEnd, kTrailer, kEnd, kBroken };

  At step(char byte) noexcept;
  At size_ended() noexcept;
  At trailer_line_ended() noexcept;

  At at_ = At::kSize;
  std::uint64_t size_ = 0;     // Of the chunk at hand; then, what of it is to come.
  unsigned digits_ = 0;        // Of that size.
  std::size_t overhead_ = 0;   // Of an extension, of all trailers: they end some time.
  std::size_t line_size_ = 0;  // Of the trailer at hand, with its return.
  bool returned_ = false;      // Its last byte was a return.
};

}  // namespace engine
