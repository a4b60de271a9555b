// Numbers as options write them. Knows texts only: no uWSGI.
#pragma once

#include <optional>

namespace engine {

// A whole decimal number in [low, high].
std::optional<long> whole_number(const char* text, long low, long high) noexcept;

// A decimal number of digits and one point: neither "inf" nor "0x10" nor "1e3", as strtod() has it; never
// negative.
std::optional<double> decimal_number(const char* text) noexcept;

}  // namespace engine
