// Which objects suspend, by any path and any names that the user may have given.
#include <fuzzer/FuzzedDataProvider.h>

#include <cstdlib>

#include "plugin/blocking/object_choice.h"

using blocking::Kind;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider bytes(data, size);
  blocking::ObjectChoice choice;
  for (int i = bytes.ConsumeIntegralInRange(0, 3); i > 0; --i)
    choice.suspend_libs.push_back(bytes.ConsumeRandomLengthString(20));
  for (int i = bytes.ConsumeIntegralInRange(0, 3); i > 0; --i)
    choice.native_libs.push_back(bytes.ConsumeRandomLengthString(20));
  const std::string path = bytes.ConsumeRandomLengthString(100);
  const Kind kind = blocking::classify(path, false, choice);
  if (kind == Kind::kLibpython || blocking::classify(path, true, choice) != Kind::kLibpython) abort();
  // The folder says nothing.
  if (blocking::classify("/some/libpq.so/" + path, false, choice) != kind) abort();
  // What is named is taken, and what is left out goes before that; the name alone and with an ending.
  const std::string file(blocking::file_name(path));
  if (!blocking::names_library(file, file) || !blocking::names_library(file + ".so", file)) abort();
  const blocking::ObjectChoice both{{file}, {file}};
  if (blocking::classify(path, false, both) != Kind::kLeftAlone) abort();
  if (blocking::classify(path, false, {{file}, {}}) != Kind::kListed) abort();
  return 0;
}
