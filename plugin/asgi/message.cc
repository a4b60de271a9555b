#include "plugin/asgi/message.h"

#include <algorithm>
#include <array>

namespace asgi {

using python::py_check;
using python::py_check_status;
using python::PyError;
using python::PyRef;
using python::raise;

namespace {

// What uWSGI's functions count.
constexpr std::size_t kHeaderMax = 65535;

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Characters of HTTP's tokens, by their codes.
constexpr std::array<bool, 256> make_token_characters() noexcept {
  std::array<bool, 256> made{};
  for (char c = '0'; c <= '9'; ++c) made[static_cast<unsigned char>(c)] = true;
  for (char c = 'a'; c <= 'z'; ++c) made[static_cast<unsigned char>(c)] = true;
  for (char c = 'A'; c <= 'Z'; ++c) made[static_cast<unsigned char>(c)] = true;
  for (const char c : std::string_view("!#$%&'*+-.^_`|~")) made[static_cast<unsigned char>(c)] = true;
  return made;
}
constexpr std::array<bool, 256> kTokenCharacters = make_token_characters();

bool is_token_character(char c) noexcept { return kTokenCharacters[static_cast<unsigned char>(c)]; }

// The bytes of an object, for as long as both live. Throws PyError.
class Bytes {
 public:
  explicit Bytes(PyObject* object) {
    if (PyBytes_CheckExact(object)) {
      text_ = {PyBytes_AS_STRING(object), static_cast<std::size_t>(PyBytes_GET_SIZE(object))};
      return;
    }
    if (PyObject_GetBuffer(object, &buffer_, PyBUF_SIMPLE) < 0) throw PyError{};
    text_ = {static_cast<const char*>(buffer_.buf), static_cast<std::size_t>(buffer_.len)};
  }
  ~Bytes() {
    if (buffer_.obj != nullptr) PyBuffer_Release(&buffer_);
  }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  std::string_view text() const noexcept { return text_; }

 private:
  std::string_view text_;
  Py_buffer buffer_{};
};

Header header_of(PyObject* pair) {
  const PyRef items =
      PyRef::steal(PySequence_Fast(pair, "a header must be a pair of bytes, its name and its value"));
  if (!items) throw PyError{};
  if (PySequence_Fast_GET_SIZE(items.get()) != 2) {
    raise(PyExc_ValueError, "a header must be a pair of bytes, its name and its value");
  }
  const Bytes name(PySequence_Fast_GET_ITEM(items.get(), 0));
  const Bytes value(PySequence_Fast_GET_ITEM(items.get(), 1));
  check_header(name.text(), value.text());
  Header header{std::string(name.text()), std::string(value.text())};
  for (char& c : header.name) c = lower(c);
  return header;
}

}  // namespace

PyObject* name(const char* text) {
  PyObject* const made = PyUnicode_InternFromString(text);
  if (made == nullptr) throw PyError{};
  return made;
}

void set(const PyRef& dict, PyObject* key, PyObject* value) {
  py_check_status(PyDict_SetItem(dict.get(), key, value));
}

void set(const PyRef& dict, PyObject* key, const PyRef& value) { set(dict, key, value.get()); }

PyRef bytes(std::string_view text) {
  return py_check(PyBytes_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size())));
}

PyObject* get(PyObject* message, PyObject* key) {
  PyObject* const value = PyDict_GetItemWithError(message, key);
  if (value == nullptr && PyErr_Occurred()) throw PyError{};
  return value;
}

std::string_view type_of(PyObject* message) {
  if (!PyDict_Check(message)) {
    PyErr_Format(PyExc_TypeError, "a message is a dict, not %.100s", Py_TYPE(message)->tp_name);
    throw PyError{};
  }
  PyObject* const type = get(message, ASGI_NAME("type"));
  if (type == nullptr || !PyUnicode_Check(type))
    raise(PyExc_TypeError, "a message needs a type, which must be a str");
  Py_ssize_t size = 0;
  const char* const text = PyUnicode_AsUTF8AndSize(type, &size);
  if (text == nullptr) throw PyError{};
  return {text, static_cast<std::size_t>(size)};
}

bool flag(PyObject* message, PyObject* key, bool otherwise) {
  PyObject* const value = get(message, key);
  if (value == nullptr) return otherwise;
  const int truth = PyObject_IsTrue(value);
  py_check_status(truth);
  return truth == 1;
}

PyRef body_of(PyObject* message, PyObject* key) {
  PyObject* const value = get(message, key);
  if (value == nullptr) return bytes({});
  if (PyBytes_CheckExact(value)) return PyRef::borrow(value);
  if (!PyObject_CheckBuffer(value)) {
    PyErr_Format(PyExc_TypeError, "%U is bytes, not %.100s", key, Py_TYPE(value)->tp_name);
    throw PyError{};
  }
  return py_check(PyBytes_FromObject(value));
}

void raise_unexpected(std::string_view type, const char* why) {
  PyErr_Format(PyExc_RuntimeError, "%s: %s", std::string(type).c_str(), why);
  throw PyError{};
}

std::vector<Header> headers_of(PyObject* message, PyObject* key) {
  std::vector<Header> headers;
  PyObject* const value = get(message, key);
  if (value == nullptr) return headers;
  const PyRef pairs = py_check(PySequence_Fast(value, "headers must be an iterable of pairs of bytes"));
  headers.reserve(static_cast<std::size_t>(PySequence_Fast_GET_SIZE(pairs.get())));
  // A list is the application's own, and what a header's buffer runs may change it.
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(pairs.get()); ++i) {
    const PyRef pair = PyRef::borrow(PySequence_Fast_GET_ITEM(pairs.get(), i));
    headers.push_back(header_of(pair.get()));
  }
  return headers;
}

void check_header(std::string_view name, std::string_view value) {
  if (name.empty() || name.size() > kHeaderMax ||
      !std::all_of(name.begin(), name.end(), is_token_character)) {
    PyErr_Format(PyExc_ValueError, "a header's name is a token of HTTP, not %R",
                 bytes(name.substr(0, 100)).get());
    throw PyError{};
  }
  const bool injects =
      std::any_of(value.begin(), value.end(), [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
  if (value.size() > kHeaderMax || injects) {
    PyErr_Format(PyExc_ValueError,
                 "the value of the header %R has a line end or a NUL, or is longer than 65535 bytes",
                 bytes(name).get());
    throw PyError{};
  }
}

bool equal_ignoring_case(std::string_view text, std::string_view lower_case) noexcept {
  return std::equal(text.begin(), text.end(), lower_case.begin(), lower_case.end(),
                    [](char a, char b) { return lower(a) == b; });
}

}  // namespace asgi
