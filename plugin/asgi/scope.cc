#include "plugin/asgi/scope.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "plugin/asgi/message.h"

namespace asgi {
namespace {

using python::none;
using python::py_check;
using python::py_check_status;
using python::PyError;
using python::PyRef;

std::string_view view_of(const iovec& vector) noexcept {
  return {static_cast<const char*>(vector.iov_base), vector.iov_len};
}

std::string_view view_of(PyObject* bytes) noexcept {
  return {PyBytes_AS_STRING(bytes), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))};
}

std::string_view field(const char* text, std::uint16_t size) noexcept {
  return text == nullptr ? std::string_view() : std::string_view(text, size);
}

template <std::size_t size>
bool starts_with(std::string_view text, const char (&beginning)[size]) noexcept {
  return text.size() >= size - 1 && std::memcmp(text.data(), beginning, size - 1) == 0;
}

PyRef latin(std::string_view text) {
  return py_check(PyUnicode_DecodeLatin1(text.data(), static_cast<Py_ssize_t>(text.size()), nullptr));
}

PyRef utf_8(std::string_view text) {
  return py_check(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
}

// --- Headers ----------------------------------------------------------------------------------

// "HTTP_X_FORWARDED_FOR" as b"x-forwarded-for"; empty where the variable is no header.
std::string header_name(std::string_view variable) {
  if (starts_with(variable, "HTTP_")) variable.remove_prefix(5);
  else if (variable != "CONTENT_TYPE" && variable != "CONTENT_LENGTH") return {};
  std::string name(variable);
  for (char& c : name) c = c == '_' ? '-' : c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return name;
}

// A header that clients send.
struct KnownHeader {
  std::string variable;
  PyObject* name = nullptr;  // Null: no header.
  PyObject* pair = nullptr;  // The last that came, where `repeats`.
  bool repeats = false;
};

// Most requests have the same value as the one before, and it is no secret.
bool value_repeats(std::string_view name) noexcept {
  for (const char* const one : {"accept", "accept-encoding", "accept-language", "cache-control", "connection",
                                "content-type", "host", "user-agent"}) {
    if (name == one) return true;
  }
  return false;
}

KnownHeader make_known(std::string_view variable) {
  KnownHeader made{std::string(variable)};
  const std::string name = header_name(variable);
  if (name.empty()) return made;
  made.name = bytes(name).release();
  made.repeats = value_repeats(name);
  return made;
}

// Made once for the names that come again and again; clients may make up any number of others, of which the
// last is kept.
KnownHeader& known_header(std::string_view variable) {
  constexpr std::size_t kMost = 256;
  static std::unordered_map<std::string_view, std::unique_ptr<KnownHeader>> known;
  static std::unique_ptr<KnownHeader> other;
  const auto found = known.find(variable);
  if (found != known.end()) return *found->second;
  auto made = std::make_unique<KnownHeader>(make_known(variable));
  if (known.size() < kMost) {
    const std::string_view key = made->variable;
    return *known.emplace(key, std::move(made)).first->second;
  }
  if (other) Py_XDECREF(other->name);
  made->repeats = false;
  other = std::move(made);
  return *other;
}

// (name, value), or null.
PyRef header_of(std::string_view variable, std::string_view value) {
  constexpr std::size_t kLongestKept = 256;
  KnownHeader& known = known_header(variable);
  if (known.name == nullptr) return {};
  if (known.pair != nullptr && view_of(PyTuple_GET_ITEM(known.pair, 1)) == value)
    return PyRef::borrow(known.pair);
  PyRef pair = py_check(PyTuple_Pack(2, known.name, bytes(value).get()));
  if (known.repeats && value.size() <= kLongestKept)
    Py_XDECREF(std::exchange(known.pair, PyRef(pair).release()));
  return pair;
}

// What a scope has of the variables.
struct FromVariables {
  PyRef headers;
  std::string_view remote_port;
  std::string_view server_addr;
};

FromVariables read_variables(const wsgi_request& request) {
  FromVariables read{py_check(PyList_New(0)), {}, {}};
  for (int i = 0; i + 1 < request.var_cnt; i += 2) {
    const std::string_view variable = view_of(request.hvec[i]);
    const std::string_view value = view_of(request.hvec[i + 1]);
    // Protocols other than HTTP have these also where the client sent none.
    const bool of_body = starts_with(variable, "CONTENT_");
    if ((of_body && !value.empty()) || starts_with(variable, "HTTP_")) {
      const PyRef header = header_of(variable, value);
      if (header) py_check_status(PyList_Append(read.headers.get(), header.get()));
    } else if (variable == "REMOTE_PORT") {
      read.remote_port = value;
    } else if (variable == "SERVER_ADDR") {
      read.server_addr = value;
    }
  }
  return read;
}

// --- Addresses --------------------------------------------------------------------------------

// (host, port), with None where there is no port.
PyRef address(const PyRef& host, std::string_view port) {
  const PyRef number =
      port.empty() ? none() : py_check(PyLong_FromLong(std::strtol(std::string(port).c_str(), nullptr, 10)));
  return py_check(PyTuple_Pack(2, host.get(), number.get()));
}

// Of the connection itself; 0: it has none.
long peer_port(const wsgi_request& request) noexcept {
  const auto family = reinterpret_cast<const sockaddr&>(request.client_addr).sa_family;
  if (family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(request.client_addr).sin_port);
  if (family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(request.client_addr).sin6_port);
  return 0;
}

// Requests come again and again from the same client or proxy.
PyRef client_host(std::string_view host) {
  static std::string last;
  static PyObject* made = nullptr;
  if (made == nullptr || last != host) {
    Py_XDECREF(std::exchange(made, utf_8(host).release()));
    last = host;
  }
  return PyRef::borrow(made);
}

PyRef client_of(const wsgi_request& request, std::string_view remote_port) {
  const std::string_view host = field(request.remote_addr, request.remote_addr_len);
  if (host.empty()) return none();
  if (!remote_port.empty()) return address(client_host(host), remote_port);
  const PyRef port = py_check(PyLong_FromLong(speaks_http(request) ? peer_port(request) : 0));
  return py_check(PyTuple_Pack(2, client_host(host).get(), port.get()));
}

// Where it listens; null where it does not say so.
PyRef address_of(const uwsgi_socket& socket) {
  const std::string_view listens = socket.name == nullptr ? "" : socket.name;
  const auto colon = listens.rfind(':');
  if (colon == 0) return {};
  if (colon == std::string_view::npos) return address(utf_8(listens), {});
  return address(utf_8(listens.substr(0, colon)), listens.substr(colon + 1));
}

// The same for each request of a socket.
PyRef own_address(const uwsgi_socket& socket) {
  static std::unordered_map<const uwsgi_socket*, PyObject*> known;
  const auto found = known.find(&socket);
  if (found != known.end()) return PyRef::borrow(found->second);
  return PyRef::borrow(known[&socket] = address_of(socket).release());
}

// Behind another server, what that one says of itself.
PyRef server_of(wsgi_request& request, std::string_view server_addr) {
  if (speaks_http(request) && server_addr.empty()) {
    if (PyRef own = own_address(*request.socket)) return own;
  }
  const std::string_view host = server_addr.empty() ? variable(request, "SERVER_NAME") : server_addr;
  if (host.empty()) return none();
  const std::string_view port = variable(request, "SERVER_PORT");
  return address(utf_8(host), port.empty() ? "0" : port);
}

// --- The path ---------------------------------------------------------------------------------

// As it was sent: without the query, and without what an absolute one has in front.
std::string_view raw_path_of(const wsgi_request& request) noexcept {
  std::string_view target = field(request.uri, request.uri_len);
  target = target.substr(0, target.find('?'));
  if (target.empty() || target.front() == '/') return target;
  const auto scheme = target.find("://");
  if (scheme == std::string_view::npos) return target;
  const auto path = target.find('/', scheme + 3);
  return path == std::string_view::npos ? std::string_view("/") : target.substr(path);
}

// The mount point is part of an ASGI path.
void set_paths(const PyRef& scope, wsgi_request& request) {
  const std::string_view root = field(request.script_name, request.script_name_len);
  const std::string_view info = field(request.path_info, request.path_info_len);
  const std::string_view query = field(request.query_string, request.query_string_len);
  // A web server's SCRIPT_NAME that its PATH_INFO has still.
  const bool whole = root.empty() || request.uh->modifier1 == UWSGI_MODIFIER_MANAGE_PATH_INFO;
  set(scope, ASGI_NAME("path"), whole ? utf_8(info) : utf_8(std::string(root) + std::string(info)));
  set(scope, ASGI_NAME("raw_path"), bytes(raw_path_of(request)));
  if (!root.empty()) set(scope, ASGI_NAME("root_path"), utf_8(root));
  if (!query.empty()) set(scope, ASGI_NAME("query_string"), bytes(query));
}

PyRef http_version(const wsgi_request& request) {
  std::string_view protocol = field(request.protocol, request.protocol_len);
  if (starts_with(protocol, "HTTP/")) protocol.remove_prefix(5);
  if (protocol == "2.0") protocol = "2";
  return latin(protocol.empty() ? "1.0" : protocol);
}

PyObject* interface_versions() {
  static PyObject* const versions =
      py_check(Py_BuildValue("{s:s,s:s}", "version", "3.0", "spec_version", "2.4")).release();
  return versions;
}

}  // namespace

std::string_view variable(wsgi_request& request, std::string_view name) noexcept {
  std::uint16_t size = 0;
  const char* const value =
      uwsgi_get_var(&request, const_cast<char*>(name.data()), static_cast<std::uint16_t>(name.size()), &size);
  return value == nullptr ? std::string_view() : std::string_view(value, size);
}

bool speaks_http(const wsgi_request& request) noexcept {
  const char* const protocol = request.socket->proto_name;
  return protocol != nullptr && std::strncmp(protocol, "http", 4) == 0;
}

bool is_http_1_1(const wsgi_request& request) noexcept {
  return field(request.protocol, request.protocol_len) == "HTTP/1.1";
}

bool is_secure(const wsgi_request& request) noexcept {
  const std::string_view scheme = field(request.scheme, request.scheme_len);
  if (!scheme.empty()) return scheme == "https";
  const std::string_view https = field(request.https, request.https_len);
  return !https.empty() && (equal_ignoring_case(https, "on") || https.front() == '1');
}

PyRef usual_scope(const char* type, const char* scheme) {
  PyRef scope = py_check(PyDict_New());
  set(scope, ASGI_NAME("type"), name(type));
  set(scope, ASGI_NAME("asgi"), Py_None);
  set(scope, ASGI_NAME("http_version"), ASGI_NAME("1.1"));
  set(scope, ASGI_NAME("scheme"), name(scheme));
  set(scope, ASGI_NAME("path"), Py_None);
  set(scope, ASGI_NAME("raw_path"), Py_None);
  set(scope, ASGI_NAME("query_string"), bytes({}));
  set(scope, ASGI_NAME("root_path"), ASGI_NAME(""));
  set(scope, ASGI_NAME("headers"), Py_None);
  set(scope, ASGI_NAME("client"), Py_None);
  set(scope, ASGI_NAME("server"), Py_None);
  return scope;
}

PyRef make_scope(wsgi_request& request, PyObject* usual, PyObject* state) {
  PyRef scope = py_check(PyDict_Copy(usual));
  set(scope, ASGI_NAME("asgi"), py_check(PyDict_Copy(interface_versions())));
  if (!is_http_1_1(request)) set(scope, ASGI_NAME("http_version"), http_version(request));
  const FromVariables read = read_variables(request);
  set(scope, ASGI_NAME("headers"), read.headers);
  set(scope, ASGI_NAME("client"), client_of(request, read.remote_port));
  set(scope, ASGI_NAME("server"), server_of(request, read.server_addr));
  set_paths(scope, request);
  if (state != nullptr) set(scope, ASGI_NAME("state"), py_check(PyDict_Copy(state)));
  return scope;
}

Asked asked_of(const wsgi_request& request) noexcept {
  Asked asked;
  for (int i = 0; i + 1 < request.var_cnt; i += 2) {
    const std::string_view variable = view_of(request.hvec[i]);
    if (!starts_with(variable, "HTTP_")) continue;
    const std::string_view value = view_of(request.hvec[i + 1]);
    if (variable == "HTTP_UPGRADE") asked.upgrade = value;
    else if (variable == "HTTP_CONNECTION") asked.connection = value;
    else if (variable == "HTTP_TRANSFER_ENCODING") asked.transfer_encoding = value;
    else if (variable == "HTTP_EXPECT") asked.expect = value;
  }
  return asked;
}

}  // namespace asgi
