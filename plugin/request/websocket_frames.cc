#include "plugin/request/websocket_frames.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace engine {
namespace {

constexpr std::uint8_t kFinal = 0x80;
constexpr std::uint8_t kReserved = 0x70;
constexpr std::uint8_t kMasked = 0x80;
constexpr std::size_t kMaskSize = 4;
constexpr std::uint64_t kControlMax = 125;

constexpr std::size_t kFirstRoom = 4096;
// A buffer that one large message made is not kept for the small ones.
constexpr std::size_t kKeptRoom = 64 << 10;

std::uint64_t big_endian(const char* bytes, std::size_t count) noexcept {
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < count; ++i) number = number << 8 | static_cast<std::uint8_t>(bytes[i]);
  return number;
}

void append_big_endian(std::string& out, std::uint64_t number, int count) {
  for (int shift = (count - 1) * 8; shift >= 0; shift -= 8) out.push_back(static_cast<char>(number >> shift));
}

bool is_continuation(char c) noexcept { return (static_cast<std::uint8_t>(c) & 0xc0) == 0x80; }

// How many of the leading bytes are ASCII; eight at a time, for most text is.
std::size_t ascii_prefix(std::string_view text) noexcept {
  constexpr std::uint64_t kHighBits = 0x8080808080808080;
  std::size_t i = 0;
  for (std::uint64_t word; i + sizeof word <= text.size(); i += sizeof word) {
    std::memcpy(&word, text.data() + i, sizeof word);
    if ((word & kHighBits) != 0) break;
  }
  while (i < text.size() && static_cast<std::uint8_t>(text[i]) < 0x80) ++i;
  return i;
}

// The size of the character that `text`, which is not empty, begins with; 0 where it is none.
std::size_t character_size(std::string_view text) noexcept {
  const auto first = static_cast<std::uint8_t>(text[0]);
  const std::size_t size = first < 0x80   ? 1
                           : first < 0xc2 ? 0
                           : first < 0xe0 ? 2
                           : first < 0xf0 ? 3
                           : first < 0xf5 ? 4
                                          : 0;
  if (size == 0 || size > text.size()) return 0;
  if (!std::all_of(text.begin() + 1, text.begin() + size, is_continuation)) return 0;
  if (size < 3) return size;
  const auto second = static_cast<std::uint8_t>(text[1]);
  const bool shorter = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
  const bool surrogate = first == 0xed && second > 0x9f;
  const bool beyond = first == 0xf4 && second > 0x8f;
  return shorter || surrogate || beyond ? 0 : size;
}

// Eight bytes at a time: large messages are mostly this.
void unmask(char* data, std::size_t size, const char* mask) noexcept {
  char twice[2 * kMaskSize];
  std::memcpy(twice, mask, kMaskSize);
  std::memcpy(twice + kMaskSize, mask, kMaskSize);
  std::uint64_t wide;
  std::memcpy(&wide, twice, sizeof wide);
  std::size_t i = 0;
  for (; i + sizeof wide <= size; i += sizeof wide) {
    std::uint64_t word;
    std::memcpy(&word, data + i, sizeof word);
    word ^= wide;
    std::memcpy(data + i, &word, sizeof word);
  }
  for (; i < size; ++i) data[i] = static_cast<char>(data[i] ^ mask[i % kMaskSize]);
}

}  // namespace

bool is_utf8(std::string_view text) noexcept {
  for (;;) {
    text.remove_prefix(ascii_prefix(text));
    if (text.empty()) return true;
    const std::size_t size = character_size(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
}

void append_frame(std::string& out, Opcode opcode, std::string_view payload) {
  out.push_back(static_cast<char>(kFinal | static_cast<std::uint8_t>(opcode)));
  if (payload.size() < 126) {
    out.push_back(static_cast<char>(payload.size()));
  } else if (payload.size() <= 0xffff) {
    out.push_back(126);
    append_big_endian(out, payload.size(), 2);
  } else {
    out.push_back(127);
    append_big_endian(out, payload.size(), 8);
  }
  out.append(payload);
}

void append_close_frame(std::string& out, int code, std::string_view reason) {
  std::string payload;
  if (code != close_code::kNoneGiven) {
    append_big_endian(payload, static_cast<std::uint64_t>(code), 2);
    payload.append(reason.substr(0, kControlMax - 2));
  }
  append_frame(out, Opcode::kClose, payload);
}

FrameReader::Room FrameReader::room() {
  if (begin_ != 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, held());
    end_ = held();
    begin_ = 0;
  }
  if (end_ == 0 && buffer_.size() > kKeptRoom) std::vector<char>().swap(buffer_);
  // Doubles the size instead of trusting the frame's length, which may never come.
  if (end_ == buffer_.size()) buffer_.resize(std::max(kFirstRoom, 2 * end_));
  return {buffer_.data() + end_, buffer_.size() - end_};
}

void FrameReader::rest() noexcept {
  if (held() != taken_) return;
  std::vector<char>().swap(buffer_);
  begin_ = end_ = taken_ = 0;
}

FrameReader::Got FrameReader::broken(int code) noexcept {
  close_code_ = code;
  payload_ = {};
  return Got::kBroken;
}

// False while it is not whole; of one without a mask the first two bytes are enough.
bool FrameReader::parse_header() noexcept {
  if (held() < 2) return false;
  const char* const bytes = buffer_.data() + begin_;
  first_byte_ = static_cast<std::uint8_t>(bytes[0]);
  const auto second = static_cast<std::uint8_t>(bytes[1]);
  masked_ = (second & kMasked) != 0;
  size_ = second & ~kMasked;
  const std::size_t more = size_ == 126 ? 2 : size_ == 127 ? 8 : 0;
  header_size_ = 2 + more + (masked_ ? kMaskSize : 0);
  if (!masked_ || held() < header_size_) return !masked_;
  if (more != 0) size_ = big_endian(bytes + 2, more);
  return true;
}

FrameReader::Got FrameReader::take_control(Opcode opcode) noexcept {
  if (opcode == Opcode::kPing) return Got::kPing;
  if (opcode == Opcode::kPong) return Got::kPong;
  if (payload_.size() == 1) return broken(close_code::kProtocolError);
  close_code_ = close_code::kNoneGiven;
  if (!payload_.empty()) {
    close_code_ = static_cast<int>(big_endian(payload_.data(), 2));
    if (!close_code::may_be_sent(close_code_)) return broken(close_code::kProtocolError);
    payload_.remove_prefix(2);
    if (!is_utf8(payload_)) return broken(close_code::kNotText);
  }
  return Got::kClose;
}

FrameReader::Got FrameReader::whole_message() noexcept {
  return is_text_ && !is_utf8(payload_) ? broken(close_code::kNotText) : Got::kMessage;
}

FrameReader::Got FrameReader::next() {
  if (std::exchange(fragments_given_, false)) std::string().swap(fragments_);
  for (;;) {
    begin_ += std::exchange(taken_, 0);
    if (!parse_header()) return Got::kNothing;
    const bool final = (first_byte_ & kFinal) != 0;
    const auto opcode = static_cast<Opcode>(first_byte_ & 0x0f);
    const bool control = opcode >= Opcode::kClose;
    // A client masks whatever it sends (RFC 6455, section 5.1).
    if (!masked_ || (first_byte_ & kReserved) != 0 || opcode > Opcode::kPong ||
        (opcode > Opcode::kBinary && opcode < Opcode::kClose) ||
        (control && (!final || size_ > kControlMax)) ||
        (!control && in_fragments_ != (opcode == Opcode::kContinuation))) {
      return broken(close_code::kProtocolError);
    }
    if (!control && size_ > max_size_ - std::min<std::uint64_t>(max_size_, fragments_.size())) {
      return broken(close_code::kTooBig);
    }
    if (held() - header_size_ < size_) return Got::kNothing;

    char* const data = buffer_.data() + begin_ + header_size_;
    unmask(data, size_, data - kMaskSize);
    taken_ = header_size_ + size_;
    payload_ = {data, size_};
    if (control) return take_control(opcode);
    if (opcode != Opcode::kContinuation) is_text_ = opcode == Opcode::kText;
    if (final && !in_fragments_) return whole_message();
    fragments_.append(payload_);
    in_fragments_ = !final;
    if (!final) continue;
    fragments_given_ = true;
    payload_ = fragments_;
    return whole_message();
  }
}

}  // namespace engine
