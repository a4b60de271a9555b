#include "plugin/asgi/response.h"

#include <cstdint>
#include <map>
#include <string>

namespace asgi {
namespace {

using python::py_check;
using python::PyError;
using python::PyRef;
using python::raise;

// "404 Not Found". Throws PyError.
const std::string& status_line(int status) {
  static std::map<int, std::string> known;
  const auto found = known.find(status);
  if (found != known.end()) return found->second;
  const PyRef statuses = python::imported("http", "HTTPStatus");
  const auto named = PyRef::steal(PyObject_CallFunction(statuses.get(), "i", status));
  if (!named) PyErr_Clear();  // None of the registered ones.
  const PyRef phrase = named ? py_check(PyObject_GetAttrString(named.get(), "phrase")) : PyRef();
  const char* const text = phrase ? PyUnicode_AsUTF8(phrase.get()) : "Unknown";
  if (text == nullptr) throw PyError{};
  return known[status] = std::to_string(status) + ' ' + text;
}

bool add_header(wsgi_request& request, std::string_view name, std::string_view value) noexcept {
  return uwsgi_response_add_header(&request, const_cast<char*>(name.data()),
                                   static_cast<std::uint16_t>(name.size()), const_cast<char*>(value.data()),
                                   static_cast<std::uint16_t>(value.size())) == 0;
}

}  // namespace

int status_of(PyObject* message) {
  PyObject* const status = get(message, ASGI_NAME("status"));
  if (status == nullptr || !PyLong_Check(status))
    raise(PyExc_TypeError, "the status of a response must be an int");
  const long number = PyLong_AsLong(status);
  if (number == -1 && PyErr_Occurred()) throw PyError{};
  if (number < 200 || number > 999)
    raise(PyExc_ValueError, "the status of a response must be from 200 to 999");
  return static_cast<int>(number);
}

bool prepare_head(wsgi_request& request, int status, const std::vector<Header>& headers) {
  std::string line = status_line(status);
  if (uwsgi_response_prepare_headers(&request, line.data(), static_cast<std::uint16_t>(line.size())) != 0)
    return false;
  for (const Header& header : headers) {
    if (!add_header(request, header.name, header.value)) return false;
  }
  return true;
}

std::string_view view_of(const PyRef& bytes) noexcept {
  return {PyBytes_AS_STRING(bytes.get()), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.get()))};
}

}  // namespace asgi
