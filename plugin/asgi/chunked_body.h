// A request's body in chunks (RFC 9112, section 7.1). Knows bytes only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace asgi {

class ChunkedBody {
 public:
  // Takes what has been received and appends the data in it to `out`. False when it is broken: what follows
  // has no meaning. Nothing is taken once it has ended.
  bool take(std::string_view received, std::string& out);
  bool ended() const noexcept { return state_ == State::kEnded; }

 private:
  enum class State { kSize, kExtension, kData, kDataEnd, kTrailer, kEnded };

  bool take_size(char c) noexcept;
  bool take_line_end(char c) noexcept;
  bool take_trailer(char c) noexcept;
  void line_ended() noexcept;

  State state_ = State::kSize;
  std::uint64_t size_ = 0;  // Of the chunk at hand, and then what is left of it.
  int digits_ = 0;
  std::size_t line_size_ = 0;  // Of an extension or a trailer.
  bool carriage_return_ = false;
};

}  // namespace asgi
