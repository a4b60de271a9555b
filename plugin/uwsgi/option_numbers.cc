#include "plugin/uwsgi/option_numbers.h"

#include <cstdlib>
#include <cstring>

namespace engine {

// What is too large for a long is taken for the largest: no option goes that far.
std::optional<long> whole_number(const char* text, long low, long high) noexcept {
  char* end = nullptr;
  const long number = std::strtol(text, &end, 10);
  if (end == text || *end != '\0' || number < low || number > high) return std::nullopt;
  return number;
}

std::optional<double> decimal_number(const char* text) noexcept {
  char* end = nullptr;
  const double number = std::strtod(text, &end);
  const std::size_t length = std::strlen(text);
  if (length == 0 || std::strspn(text, "0123456789.") != length || *end != '\0') return std::nullopt;
  return number;
}

}  // namespace engine
