// The frames of a websocket (RFC 6455, section 5). Knows bytes only: no connection, no Python.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace engine {

enum class Opcode : std::uint8_t {
  kContinuation = 0,
  kText = 1,
  kBinary = 2,
  kClose = 8,
  kPing = 9,
  kPong = 10,
};

// RFC 6455, section 7.4.1. 1005 and 1006 are never sent; they stand for a missing code.
namespace close_code {
inline constexpr int kNormal = 1000;
inline constexpr int kGoingAway = 1001;
inline constexpr int kProtocolError = 1002;
inline constexpr int kNoneGiven = 1005;
inline constexpr int kConnectionLost = 1006;
inline constexpr int kNotText = 1007;
inline constexpr int kTooBig = 1009;

// Whether one side may send it to the other: codes that the protocol or its registry defines, and the ranges
// of libraries (3000) and applications (4000).
constexpr bool may_be_sent(int code) noexcept {
  return (code >= 1000 && code <= 1014 && code != 1004 && code != kNoneGiven && code != kConnectionLost) ||
         (code >= 3000 && code <= 4999);
}
}  // namespace close_code

// Whether the bytes are UTF-8 according to RFC 3629: no overlong forms, no surrogates, nothing beyond
// U+10FFFF.
bool is_utf8(std::string_view text) noexcept;

// Appends a whole, unmasked frame to `out`: a server's.
void append_frame(std::string& out, Opcode opcode, std::string_view payload);

// A close frame. Without `reason` it has only the code, and for kNoneGiven nothing.
void append_close_frame(std::string& out, int code, std::string_view reason);

// Splits the bytes that a client sends into messages and control frames.
class FrameReader {
 public:
  // `max_size`: the limit of a message, with all its fragments.
  explicit FrameReader(std::uint64_t max_size) noexcept : max_size_(max_size) {}

  enum class Got {
    kNothing,  // More bytes are needed.
    kMessage,  // Whole: fragments are joined.
    kPing,
    kPong,
    kClose,
    kBroken,  // Not a websocket any more: close it with close_code().
  };
  Got next();

  // Of what next() gave; valid until the next call of a member.
  std::string_view payload() const noexcept { return payload_; }
  bool is_text() const noexcept { return is_text_; }
  int close_code() const noexcept { return close_code_; }

  // Where to put bytes of the connection, and then how many came.
  struct Room {
    char* data;
    std::size_t size;
  };
  Room room();
  void received(std::size_t size) noexcept { end_ += size; }
  // The client may stay silent for long, so the buffer is freed if it holds no part of a frame.
  void rest() noexcept;

 private:
  bool parse_header() noexcept;
  Got broken(int code) noexcept;
  Got take_control(Opcode opcode) noexcept;
  Got whole_message() noexcept;
  std::size_t held() const noexcept { return end_ - begin_; }

  const std::uint64_t max_size_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;  // Of the frame at hand.
  std::size_t end_ = 0;    // Of what was received.
  std::size_t taken_ = 0;  // The frame that next() returned; the next call drops it.

  // The header of the frame at hand.
  std::uint8_t first_byte_ = 0;
  bool masked_ = false;
  std::size_t header_size_ = 0;
  std::uint64_t size_ = 0;

  std::string fragments_;
  bool in_fragments_ = false;
  bool fragments_given_ = false;
  bool is_text_ = false;
  std::string_view payload_;
  int close_code_ = 0;
};

}  // namespace engine
