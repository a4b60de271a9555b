#include "plugin/fetch/arguments.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

#include "plugin/http/libcurl.h"
#include "plugin/http/response_head.h"
#include "plugin/python/python_source.h"

namespace python {
namespace {

constexpr Py_ssize_t kFileChunk = 64 << 10;

[[noreturn]] void raise_value_error(const std::string& text) { raise(PyExc_ValueError, text.c_str()); }

// --- Values ---------------------------------------------------------------------------------------

enum class Charset { kUtf8, kLatin1 };

// A text that becomes a line. Characters that could end the line are refused.
std::string line_of(const char* name, PyObject* value, Charset charset = Charset::kUtf8) {
  PyRef encoded;
  if (PyUnicode_Check(value)) {
    encoded = py_check(charset == Charset::kLatin1 ? PyUnicode_AsLatin1String(value)
                                                   : PyUnicode_AsUTF8String(value));
  } else if (PyBytes_Check(value)) {
    encoded = PyRef::borrow(value);
  } else {
    raise(PyExc_TypeError, "%s is a str or bytes, not %s", name, Py_TYPE(value)->tp_name);
  }
  std::string text(PyBytes_AS_STRING(encoded.get()),
                   static_cast<std::size_t>(PyBytes_GET_SIZE(encoded.get())));
  if (text.find_first_of(std::string("\r\n\0", 3)) != std::string::npos) {
    raise_value_error(std::string(name) + " must not contain the end of a line or a NUL");
  }
  return text;
}

double limit_of(const char* name, PyObject* value) {
  const double seconds = as_double(value);
  if (!(seconds >= 0 && seconds < 1e6))
    raise_value_error(std::string(name) + " must be a number of seconds, 0 (no limit) or more");
  return seconds;
}

std::int64_t count_of(const char* name, PyObject* value) {
  const long long count = PyLong_AsLongLong(value);
  if (count == -1 && PyErr_Occurred()) throw PyError{};
  if (count < 0) raise_value_error(std::string(name) + " must be a whole number, 0 or more");
  return count;
}

bool flag_of(PyObject* value) { return is_true(PyRef::borrow(value)); }

http::AuthMode auth_mode_of(const char* name, PyObject* value) {
  const std::string mode = line_of(name, value);
  if (mode == "basic") return http::AuthMode::kBasic;
  if (mode == "digest") return http::AuthMode::kDigest;
  raise_value_error(std::string(name) + " must be \"basic\" or \"digest\", not \"" + mode + "\"");
}

// A method, or the name of a header (RFC 9110, 5.6.2).
void check_token(const char* what, const std::string& text) {
  constexpr char kToken[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  if (text.empty() || text.find_first_not_of(kToken) != std::string::npos) {
    raise_value_error(std::string("\"") + text + "\" cannot be " + what);
  }
}

// --- Headers --------------------------------------------------------------------------------------

void add_header(http::Request& request, PyObject* name_object, PyObject* value) {
  const std::string name = line_of("the name of a header", name_object, Charset::kLatin1);
  check_token("the name of a header", name);
  if (strcasecmp(name.c_str(), "Proxy-Authorization") == 0) {
    // It would go to the server, and to those it redirects to.
    raise_value_error(
        "the header Proxy-Authorization is not for servers: use proxy_username and proxy_password");
  }
  if (value == Py_None) {
    request.headers.push_back(name + ":");
    return;
  }
  const std::string text = line_of("the value of a header", value, Charset::kLatin1);
  request.headers.push_back(text.find_first_not_of(" \t") == std::string::npos ? name + ";"
                                                                               : name + ": " + text);
}

bool has_header(const http::Request& request, const char* name) noexcept {
  return std::any_of(request.headers.begin(), request.headers.end(), [name](const std::string& line) {
    return http::is_header(line, name, http::kEndsOfRequestName);
  });
}

// Of pairs, or of a mapping.
void add_headers(FetchCall& call, PyObject* headers) {
  PyRef pairs = PyRef::borrow(headers);
  if (PyMapping_Check(headers) && PyObject_HasAttrString(headers, "items"))
    pairs = py_check(PyMapping_Items(headers));
  const PyRef iterator = py_check(PyObject_GetIter(pairs.get()));
  while (const PyRef pair = PyRef::steal(PyIter_Next(iterator.get()))) {
    const PyRef both =
        py_check(PySequence_Fast(pair.get(), "headers are a mapping or pairs of name and value"));
    if (PySequence_Fast_GET_SIZE(both.get()) != 2)
      raise_value_error("headers are a mapping or pairs of name and value");
    add_header(call.request, PySequence_Fast_GET_ITEM(both.get(), 0),
               PySequence_Fast_GET_ITEM(both.get(), 1));
  }
  if (PyErr_Occurred()) throw PyError{};
}

// --- The body -------------------------------------------------------------------------------------

// Its end is b'', or '' where it is one of text.
constexpr char kChunksOfFile[] = R"(
def chunks(read, size):
    while True:
        chunk = read(size)
        if not chunk:
            return
        yield chunk
)";

PyRef chunks_of_file(PyObject* read) {
  static PyObject* const chunks =
      from_python_source(kChunksOfFile, "uwsgi_tornado.chunks", "chunks").release();
  return py_check(PyObject_CallFunction(chunks, "On", read, kFileChunk));
}

void take_body(FetchCall& call, PyObject* body) {
  http::Request& request = call.request;
  request.has_body = true;
  if (PyUnicode_Check(body) || PyObject_CheckBuffer(body)) {
    with_bytes(body, [&request](const char* data, std::size_t size) { request.body.assign(data, size); });
    return;
  }
  request.body_is_given_later = true;
  if (PyObject_HasAttrString(body, "__aiter__")) {
    call.body_async_chunks = PyRef::borrow(body);
  } else if (const PyRef read = PyRef::steal(PyObject_GetAttrString(body, "read"))) {
    call.body_chunks = chunks_of_file(read.get());
  } else {
    PyErr_Clear();
    call.body_chunks = py_check(PyObject_GetIter(body));
  }
}

// The other way to say where a body ends. Beside a length, or where no body comes, it would have the server
// take the next request on the connection for a part of this one.
void check_transfer_encoding(const http::Request& request) {
  constexpr char kName[] = "Transfer-Encoding";
  constexpr std::size_t kLength = sizeof kName - 1;
  bool is_said = false;
  for (const std::string& line : request.headers) {
    if (!http::is_header(line, kName, http::kEndsOfRequestName)) continue;
    const bool chunked = strcasecmp(line.c_str() + kLength, ": chunked") == 0;
    if (!chunked || is_said || !request.has_body) {
      raise_value_error("the header Transfer-Encoding may only be \"chunked\", once, and only with a body");
    }
    is_said = true;
  }
}

// The length of the body is libcurl's to say, in one way only: two lengths are how requests are smuggled.
void settle_length(http::Request& request) {
  constexpr char kName[] = "Content-Length:";
  constexpr std::size_t kLength = sizeof kName - 1;
  bool is_known = false;
  for (auto line = request.headers.begin(); line != request.headers.end();) {
    // "Name;" is libcurl's way to write an empty one.
    const bool is_empty = line->size() == kLength && strncasecmp(line->c_str(), kName, kLength - 1) == 0;
    if (!is_empty && strncasecmp(line->c_str(), kName, kLength) != 0) {
      ++line;
      continue;
    }
    const std::string number = is_empty ? "" : line->substr(line->find_first_not_of(" \t", kLength));
    if (number.empty() || number.size() > 18 || number.find_first_not_of("0123456789") != std::string::npos) {
      raise_value_error("the header Content-Length is not a number");
    }
    const std::int64_t said = std::stoll(number);
    const std::int64_t known =
        request.body_is_given_later ? said : static_cast<std::int64_t>(request.body.size());
    if (said != known) raise_value_error("the header Content-Length is not the length of the body");
    if (is_known) raise_value_error("the header Content-Length occurs twice");
    is_known = true;
    if (request.body_is_given_later) request.body_size = said;
    line = request.headers.erase(line);
  }
  // Servers expect one of methods that have a meaning for a body (RFC 9110, 8.6).
  if (!request.has_body && (request.method == "PUT" || request.method == "PATCH")) {
    request.headers.emplace_back("Content-Length: 0");
  }
}

// --- libcurl's own options ------------------------------------------------------------------------

// {number of an option: int or str}
void take_curl_options(http::Request& request, PyObject* options) {
  PyObject *key, *value;  // Borrowed.
  Py_ssize_t at = 0;
  if (!PyDict_Check(options)) raise(PyExc_TypeError, "curl_options must be a dict");
  while (PyDict_Next(options, &at, &key, &value) != 0) {
    const int number = static_cast<int>(count_of("the number of a libcurl option", key));
    const curl_easyoption* const known = http::libcurl().easy_option_by_id(static_cast<CURLoption>(number));
    if (known == nullptr) raise_value_error("libcurl has no option " + std::to_string(number));
    // libcurl would read on behind the body.
    if (number == CURLOPT_POSTFIELDSIZE || number == CURLOPT_POSTFIELDSIZE_LARGE) {
      raise_value_error(std::string("libcurl's option ") + known->name + " cannot be set from here");
    }
    switch (known->type) {
      case CURLOT_LONG:
      case CURLOT_VALUES:
      case CURLOT_OFF_T: {
        const long long given = PyLong_AsLongLong(value);
        if (given == -1 && PyErr_Occurred()) throw PyError{};
        request.curl_numbers.emplace_back(number, given);
        break;
      }
      case CURLOT_STRING: request.curl_texts.emplace_back(number, line_of(known->name, value)); break;
      default: raise_value_error(std::string("libcurl's option ") + known->name + " cannot be set from here");
    }
  }
}

// --- The table ------------------------------------------------------------------------------------

struct Field {
  const char* name;
  void (*take)(FetchCall& call, const char* name, PyObject* value);
};

template <auto Member>
void line(FetchCall& call, const char* name, PyObject* value) {
  call.request.*Member = line_of(name, value);
}
template <auto Member>
void seconds(FetchCall& call, const char* name, PyObject* value) {
  call.request.*Member = limit_of(name, value);
}
template <auto Member>
void count(FetchCall& call, const char* name, PyObject* value) {
  call.request.*Member = count_of(name, value);
}
template <auto Member>
void flag(FetchCall& call, const char*, PyObject* value) {
  call.request.*Member = flag_of(value);
}
template <auto Member>
void auth_mode(FetchCall& call, const char* name, PyObject* value) {
  call.request.*Member = auth_mode_of(name, value);
}

void take_headers(FetchCall& call, const char*, PyObject* value) { add_headers(call, value); }

void take_body_field(FetchCall& call, const char*, PyObject* value) { take_body(call, value); }

// The body comes by AsyncFetch.write(): of tornado_http_client.py.
void take_body_is_written(FetchCall& call, const char*, PyObject*) {
  call.request.has_body = call.request.body_is_given_later = true;
}

void take_decompress(FetchCall& call, const char*, PyObject* value) {
  if (flag_of(value)) call.request.accept_encoding = "";
  else call.request.accept_encoding.reset();
}

void take_raise_error(FetchCall& call, const char*, PyObject* value) { call.raise_error = flag_of(value); }

void take_while_connected(FetchCall& call, const char*, PyObject* value) {
  call.while_connected = flag_of(value);
}

void take_curl(FetchCall& call, const char*, PyObject* value) { take_curl_options(call.request, value); }

void take_method(FetchCall& call, const char* name, PyObject* value) {
  call.request.method = line_of(name, value);
  check_token("a method", call.request.method);
}

void take_verify(FetchCall& call, const char* name, PyObject* value) {
  call.request.verify = true;
  if (PyUnicode_Check(value) || PyBytes_Check(value)) call.request.ca_certs = line_of(name, value);
  else call.request.verify = flag_of(value);
}

void take_protocols(FetchCall& call, const char* name, PyObject* value) {
  call.request.protocols.clear();
  const PyRef iterator = py_check(PyObject_GetIter(value));
  while (const PyRef protocol = PyRef::steal(PyIter_Next(iterator.get()))) {
    if (!call.request.protocols.empty()) call.request.protocols += ",";
    call.request.protocols += line_of(name, protocol.get());
  }
  if (PyErr_Occurred()) throw PyError{};
}

// Each as uwsgi_tornado.fetch's documentation says. None is as if it were not given.
constexpr Field kFields[] = {
    {"url", line<&http::Request::url>},
    {"method", take_method},
    {"headers", take_headers},
    {"body", take_body_field},
    {"_body_is_written", take_body_is_written},
    {"connect_timeout", seconds<&http::Request::connect_timeout_s>},
    {"request_timeout", seconds<&http::Request::request_timeout_s>},
    {"stall_timeout", seconds<&http::Request::stall_timeout_s>},
    {"follow_redirects", flag<&http::Request::follow_redirects>},
    {"max_redirects", count<&http::Request::max_redirects>},
    {"max_body_size", count<&http::Request::max_body_size>},
    {"max_header_size", count<&http::Request::max_header_size>},
    {"decompress", take_decompress},
    {"accept_encoding", line<&http::Request::accept_encoding>},
    {"user_agent", line<&http::Request::user_agent>},
    {"username", line<&http::Request::username>},
    {"password", line<&http::Request::password>},
    {"auth_mode", auth_mode<&http::Request::auth_mode>},
    {"proxy", line<&http::Request::proxy>},
    {"proxy_username", line<&http::Request::proxy_username>},
    {"proxy_password", line<&http::Request::proxy_password>},
    {"proxy_auth_mode", auth_mode<&http::Request::proxy_auth_mode>},
    {"verify", take_verify},
    {"client_cert", line<&http::Request::client_cert>},
    {"client_key", line<&http::Request::client_key>},
    {"ciphers", line<&http::Request::ciphers>},
    {"http_version", line<&http::Request::http_version>},
    {"unix_socket", line<&http::Request::unix_socket>},
    {"interface", line<&http::Request::interface>},
    {"allow_ipv6", flag<&http::Request::allow_ipv6>},
    {"protocols", take_protocols},
    {"raise_error", take_raise_error},
    {"while_connected", take_while_connected},
    {"stream", flag<&http::Request::streamed>},
    {"curl_options", take_curl},
};

const Field* field_of(PyObject* name) noexcept {
  for (const Field& field : kFields) {
    if (PyUnicode_CompareWithASCIIString(name, field.name) == 0) return &field;
  }
  return nullptr;
}

bool given(PyObject* kwargs, const char* name) {
  if (kwargs == nullptr) return false;
  PyObject* const value = PyDict_GetItemString(kwargs, name);  // Borrowed.
  return value != nullptr && value != Py_None;
}

}  // namespace

FetchCall parse_fetch(const char* function, PyObject* args, PyObject* kwargs) {
  const bool url_by_name = given(kwargs, "url");
  if (PyTuple_GET_SIZE(args) + (url_by_name ? 1 : 0) != 1) {
    raise(PyExc_TypeError, "%s() takes a URL, and all other arguments by name", function);
  }
  FetchCall call;
  http::Request& request = call.request;
  if (!url_by_name) request.url = line_of("url", PyTuple_GET_ITEM(args, 0));
  request.accept_encoding = "";
  request.user_agent = "uwsgi-tornado/" UWSGI_TORNADO_VERSION;
  PyObject *name, *value;  // Borrowed.
  Py_ssize_t at = 0;
  while (kwargs != nullptr && PyDict_Next(kwargs, &at, &name, &value) != 0) {
    const Field* const field = field_of(name);
    if (field == nullptr) {
      raise(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function, name);
    }
    if (value != Py_None) field->take(call, field->name, value);
  }
  // What never ends has no time to end in, and no size, unless the caller says so.
  if (request.streamed && !given(kwargs, "request_timeout")) request.request_timeout_s = 0;
  if (request.streamed && !given(kwargs, "max_body_size")) request.max_body_size = 0;
  if (request.has_body && !given(kwargs, "method")) request.method = "POST";
  // libcurl takes any body of a POST for a form.
  if (request.method == "POST" && !has_header(request, "Content-Type"))
    request.headers.emplace_back("Content-Type:");
  check_transfer_encoding(request);
  settle_length(request);
  return call;
}

}  // namespace python
