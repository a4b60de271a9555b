#include "plugin/asgi/chunked_body.h"

#include <algorithm>

namespace asgi {
namespace {

constexpr int kMostDigits = 15;
constexpr std::size_t kLongestLine = 16 << 10;

int digit_of(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

bool ChunkedBody::take(std::string_view received, std::string& out) {
  while (!received.empty() && state_ != State::kEnded) {
    if (state_ == State::kData) {
      const std::size_t some = static_cast<std::size_t>(std::min<std::uint64_t>(size_, received.size()));
      out.append(received.substr(0, some));
      received.remove_prefix(some);
      size_ -= some;
      if (size_ == 0) state_ = State::kDataEnd;
      continue;
    }
    const char c = received.front();
    received.remove_prefix(1);
    bool taken = false;
    switch (state_) {
      case State::kSize: taken = take_size(c); break;
      case State::kTrailer: taken = take_trailer(c); break;
      default: taken = take_line_end(c); break;
    }
    if (!taken) return false;
  }
  return true;
}

bool ChunkedBody::take_size(char c) noexcept {
  const int digit = digit_of(c);
  if (digit >= 0 && digits_ < kMostDigits) {
    size_ = size_ * 16 + static_cast<std::uint64_t>(digit);
    ++digits_;
    return true;
  }
  if (digits_ == 0 || digit >= 0) return false;
  state_ = State::kExtension;
  line_size_ = 0;
  if (c == ';' || c == ' ' || c == '\t') return true;
  return c == '\r' && take_line_end(c);
}

// The rest of the line of a chunk's size, or the line end after its data.
bool ChunkedBody::take_line_end(char c) noexcept {
  if (carriage_return_) {
    if (c != '\n') return false;
    carriage_return_ = false;
    line_ended();
    return true;
  }
  carriage_return_ = c == '\r';
  if (carriage_return_) return true;
  return state_ == State::kExtension && c != '\n' && ++line_size_ < kLongestLine;
}

void ChunkedBody::line_ended() noexcept {
  if (state_ == State::kExtension) {
    state_ = size_ == 0 ? State::kTrailer : State::kData;
    line_size_ = 0;
    return;
  }
  state_ = State::kSize;
  size_ = 0;
  digits_ = 0;
}

// Trailers are left out; an empty line ends the body.
bool ChunkedBody::take_trailer(char c) noexcept {
  if (carriage_return_) {
    if (c != '\n') return false;
    carriage_return_ = false;
    if (line_size_ == 0) state_ = State::kEnded;
    line_size_ = 0;
    return true;
  }
  carriage_return_ = c == '\r';
  return carriage_return_ || (c != '\n' && ++line_size_ < kLongestLine);
}

}  // namespace asgi
