#define PY_SSIZE_T_CLEAN
#include "plugin/asgi/scope.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unordered_map>

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

std::string_view field(const char* text, std::uint16_t size) noexcept {
  return text == nullptr ? std::string_view() : std::string_view(text, size);
}

bool starts_with(std::string_view text, std::string_view beginning) noexcept {
  return text.substr(0, beginning.size()) == beginning;
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

// Made once for the names that come again and again; clients may make up any number of others.
PyRef name_bytes(std::string_view variable) {
  constexpr std::size_t kMost = 256;
  static std::unordered_map<std::string, PyObject*> known;
  const auto found = known.find(std::string(variable));
  if (found != known.end()) return PyRef::borrow(found->second);
  const std::string name = header_name(variable);
  PyRef made = name.empty() ? none() : bytes(name);
  if (known.size() < kMost) known.emplace(variable, PyRef(made).release());
  return made;
}

PyRef headers_of(const wsgi_request& request) {
  PyRef headers = py_check(PyList_New(0));
  for (int i = 0; i + 1 < request.var_cnt; i += 2) {
    const std::string_view value = view_of(request.hvec[i + 1]);
    const PyRef name = name_bytes(view_of(request.hvec[i]));
    if (name.get() == Py_None) continue;
    // Protocols other than HTTP have these also where the client sent none.
    const bool of_body = starts_with(view_of(request.hvec[i]), "CONTENT_");
    if (of_body && value.empty()) continue;
    py_check_status(
        PyList_Append(headers.get(), py_check(PyTuple_Pack(2, name.get(), bytes(value).get())).get()));
  }
  return headers;
}

// --- Addresses --------------------------------------------------------------------------------

PyRef address(std::string_view host, long port) {
  return py_check(Py_BuildValue("[s#l]", host.data(), static_cast<Py_ssize_t>(host.size()), port));
}

long number_in(std::string_view text) noexcept { return std::strtol(std::string(text).c_str(), nullptr, 10); }

// Of the connection itself; 0: it has none.
long peer_port(const wsgi_request& request) noexcept {
  const auto family = reinterpret_cast<const sockaddr&>(request.client_addr).sa_family;
  if (family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(request.client_addr).sin_port);
  if (family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(request.client_addr).sin6_port);
  return 0;
}

PyRef client_of(wsgi_request& request) {
  const std::string_view host = field(request.remote_addr, request.remote_addr_len);
  if (host.empty()) return none();
  const std::string_view port = variable(request, "REMOTE_PORT");
  if (!port.empty()) return address(host, number_in(port));
  return address(host, speaks_http(request) ? peer_port(request) : 0);
}

// Where it listens; behind another server, what that one says of itself.
PyRef server_of(wsgi_request& request) {
  const std::string_view listens = request.socket->name == nullptr ? "" : request.socket->name;
  const auto colon = listens.rfind(':');
  if (speaks_http(request) && variable(request, "SERVER_ADDR").empty()) {
    if (colon == std::string_view::npos) {
      return py_check(
          Py_BuildValue("[s#O]", listens.data(), static_cast<Py_ssize_t>(listens.size()), Py_None));
    }
    if (colon > 0) return address(listens.substr(0, colon), number_in(listens.substr(colon + 1)));
  }
  std::string_view host = variable(request, "SERVER_ADDR");
  if (host.empty()) host = variable(request, "SERVER_NAME");
  return host.empty() ? none() : address(host, number_in(variable(request, "SERVER_PORT")));
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
  // A web server's SCRIPT_NAME that its PATH_INFO has still.
  const bool whole = request.uh->modifier1 == UWSGI_MODIFIER_MANAGE_PATH_INFO;
  const std::string path = whole ? std::string(info) : std::string(root) + std::string(info);
  set(scope, ASGI_NAME("root_path"), utf_8(root));
  set(scope, ASGI_NAME("path"), utf_8(path));
  set(scope, ASGI_NAME("raw_path"), bytes(raw_path_of(request)));
  set(scope, ASGI_NAME("query_string"), bytes(field(request.query_string, request.query_string_len)));
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

PyRef make_scope(wsgi_request& request, PyObject* state) {
  PyRef scope = py_check(PyDict_New());
  set(scope, ASGI_NAME("asgi"), py_check(PyDict_Copy(interface_versions())));
  set(scope, ASGI_NAME("http_version"), http_version(request));
  set(scope, ASGI_NAME("client"), client_of(request));
  set(scope, ASGI_NAME("server"), server_of(request));
  set(scope, ASGI_NAME("headers"), headers_of(request));
  set_paths(scope, request);
  if (state != nullptr) set(scope, ASGI_NAME("state"), py_check(PyDict_Copy(state)));
  return scope;
}

}  // namespace asgi
