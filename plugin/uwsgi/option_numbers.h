// Numbers in options. Works on texts only, independent of uWSGI.
#pragma once

#include <optional>

namespace engine {

// A whole decimal number in [low, high].
std::optional<long> whole_number(const char* text, long low, long high) noexcept;

// A decimal number of digits and one point, never negative. Unlike strtod() it accepts neither "inf" nor
// "0x10" nor "1e3".
std::optional<double> decimal_number(const char* text) noexcept;

}  // namespace engine
