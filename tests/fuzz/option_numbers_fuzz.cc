// Numbers of options: any text is a number within the limits, or none.
#include <fuzzer/FuzzedDataProvider.h>

#include <cmath>
#include <cstdlib>

#include "plugin/uwsgi/option_numbers.h"

namespace {

// The same told another way.
bool is_whole_number(std::string text) {
  text.erase(0, std::min(text.find_first_not_of(" \t\n\v\f\r"), text.size()));
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.erase(0, 1);
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

bool is_decimal_number(const std::string& text) {
  const std::size_t point = text.find('.');
  return text.size() > (point == std::string::npos ? 0 : 1) &&
         text.find_first_not_of("0123456789.") == std::string::npos &&
         (point == std::string::npos || text.find('.', point + 1) == std::string::npos);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider bytes(data, size);
  const auto low = bytes.ConsumeIntegralInRange<long>(-100, 1000000);
  const auto high = bytes.ConsumeIntegralInRange<long>(low, 1 << 20);
  const std::string said = bytes.ConsumeRemainingBytesAsString();
  const std::string text = said.c_str();  // As it comes from a command line.

  const auto whole = engine::whole_number(text.c_str(), low, high);
  if (whole && (*whole < low || *whole > high || !is_whole_number(text))) abort();
  if (!whole && is_whole_number(text) && text.size() < 18) {
    const long number = std::stol(text);
    if (number >= low && number <= high) abort();
  }
  const auto decimal = engine::decimal_number(text.c_str());
  if (decimal.has_value() != is_decimal_number(text)) abort();
  if (decimal && (std::isnan(*decimal) || std::signbit(*decimal))) abort();
  return 0;
}
