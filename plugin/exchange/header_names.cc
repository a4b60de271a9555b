#include "plugin/exchange/header_names.h"

#include <string>
#include <unordered_map>

namespace engine {
namespace {

using python::py_check;
using python::PyRef;

constexpr std::string_view kPrefix = "HTTP_";
// Names of clients' own do not stay.
constexpr std::size_t kKnownMax = 512;

bool is_letter(char c) noexcept { return c >= 'A' && c <= 'Z'; }

std::string shown(std::string_view name) {
  std::string text(name);
  bool first = true;
  for (char& c : text) {
    if (c == '_') c = '-';
    else if (!first && is_letter(c)) c = static_cast<char>(c - 'A' + 'a');
    first = c == '-';
  }
  return text;
}

}  // namespace

PyRef header_name(std::string_view variable) {
  const bool prefixed = variable.substr(0, kPrefix.size()) == kPrefix;
  if (!prefixed && variable != "CONTENT_TYPE" && variable != "CONTENT_LENGTH") return {};
  static auto* const known = new std::unordered_map<std::string, PyObject*>;  // For the process's life.
  if (const auto found = known->find(std::string(variable)); found != known->end())
    return PyRef::borrow(found->second);
  const std::string text = shown(prefixed ? variable.substr(kPrefix.size()) : variable);
  PyRef name = py_check(PyUnicode_DecodeLatin1(text.data(), static_cast<Py_ssize_t>(text.size()), nullptr));
  if (known->size() < kKnownMax) {
    Py_INCREF(name.get());
    known->emplace(variable, name.get());
  }
  return name;
}

}  // namespace engine
