// Decodes a chunked request body (RFC 9112, section 7.1). Knows bytes only: no connection, no Python.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace engine {

// Strict: any deviation from the RFC is an error, because a proxy might see another end of the body than we
// do (request smuggling).
class ChunkedDecoder {
 public:
  // Consumes the front of `bytes` and returns the first data in it, at most `most` bytes of one chunk, as a
  // view of `bytes`. Returns an empty view if `bytes` is used up, at the end, and after invalid input.
  std::string_view next(std::string_view& bytes, std::size_t most) noexcept;
  bool ended() const noexcept { return at_ == At::kEnd; }
  bool broken() const noexcept { return at_ == At::kBroken; }

 private:
  enum class At { kSize, kExtension, kSizeEnd, kData, kDataReturn, kDataEnd, kTrailer, kEnd, kBroken };

  At step(char byte) noexcept;
  At size_ended() noexcept;
  At trailer_line_ended() noexcept;

  At at_ = At::kSize;
  std::uint64_t size_ = 0;     // The size of the present chunk; then, how much of it is missing.
  unsigned digits_ = 0;        // How many digits of that size were read.
  std::size_t overhead_ = 0;   // The length of an extension or of all trailers, which is limited.
  std::size_t line_size_ = 0;  // The length of the present trailer, with its carriage return.
  bool returned_ = false;      // The trailer's last byte was a carriage return.
};

}  // namespace engine
