#include "plugin/asgi/http_connection.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "plugin/asgi/response.h"
#include "plugin/asgi/scope.h"
#include "plugin/python/interruption.h"
#include "plugin/uwsgi/python_bridge.h"

namespace asgi {
namespace {

using python::none;
using python::py_check;
using python::PyError;
using python::PyRef;
using python::raise;

// Chunks up to this size are copied, to be written with what frames them by one call.
constexpr std::size_t kCopied = 64 << 10;
// Those up to this one are written together.
constexpr std::size_t kPiece = 16 << 10;

std::string hexadecimal(std::size_t number) {
  char text[24];
  std::snprintf(text, sizeof text, "%zx", number);
  return text;
}

PyRef disconnect_message() {
  PyRef message = py_check(PyDict_New());
  set(message, ASGI_NAME("type"), ASGI_NAME("http.disconnect"));
  return message;
}

PyRef usual_http_scope() {
  PyRef scope = usual_scope("http", "http");
  set(scope, ASGI_NAME("method"), ASGI_NAME("GET"));
  set(scope, ASGI_NAME("extensions"), Py_None);
  return scope;
}

PyRef extensions_of(const wsgi_request& request) {
  PyRef extensions = py_check(PyDict_New());
  set(extensions, ASGI_NAME("http.response.pathsend"), py_check(PyDict_New()));
  if (!speaks_http(request) || !is_http_1_1(request)) return extensions;
  set(extensions, ASGI_NAME("http.response.trailers"), py_check(PyDict_New()));
  set(extensions, ASGI_NAME("http.response.early_hint"), py_check(PyDict_New()));
  return extensions;
}

bool parse_length(const std::string& text, std::size_t& length) noexcept {
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != std::string::npos)
    return false;
  length = std::strtoull(text.c_str(), nullptr, 10);
  return true;
}

}  // namespace

HttpConnection::HttpConnection(engine::RequestThread& thread, const Asked& asked, PyObject* state)
    : Connection(thread),
      state_(state),
      body_(*thread.request(), asked),
      readable_(thread.loop().raw(), this),
      late_(thread.loop().raw(), this) {}

PyRef HttpConnection::make_scope() {
  static PyObject* const usual = usual_http_scope().release();
  PyRef scope = asgi::make_scope(request(), usual, state_);
  if (is_secure(request())) set(scope, ASGI_NAME("scheme"), ASGI_NAME("https"));
  const std::string_view method(request().method, request().method_len);
  if (method != "GET") {
    const auto size = static_cast<Py_ssize_t>(method.size());
    set(scope, ASGI_NAME("method"), py_check(PyUnicode_DecodeLatin1(method.data(), size, nullptr)));
  }
  set(scope, ASGI_NAME("extensions"), extensions_of(request()));
  return scope;
}

// --- The request's body -------------------------------------------------------------------------

PyRef HttpConnection::receive() {
  if (is_lost() || thread() == nullptr || body_broken_ || response_ == Response::kComplete)
    return disconnect_message();
  if (body_told_) {
    watch_client();
    return {};
  }
  if (!body_.ended() && body_.expects_continue() && response_ == Response::kNotStarted &&
      speaks_http(request())) {
    body_.continued();
    put({kInformation, bytes("HTTP/1.1 100 Continue\r\n\r\n")});
  }
  if (!body_.waits())
    return read_body() ? body_message() : is_lost() || body_broken_ ? disconnect_message() : PyRef();
  if (body_read_) return std::exchange(body_read_, {});
  body_wanted_ = true;
  notify();
  if (body_broken_) return disconnect_message();
  return std::exchange(body_read_, {});
}

// True when body_ has some of it, or its end.
bool HttpConnection::read_body() {
  switch (body_.read()) {
    case RequestBody::Got::kChunk: return true;
    case RequestBody::Got::kBroken: body_broken_ = true; return false;
    case RequestBody::Got::kNothing: await_body(); return false;
  }
  return false;
}

PyRef HttpConnection::body_message() {
  PyRef message = py_check(PyDict_New());
  set(message, ASGI_NAME("type"), ASGI_NAME("http.request"));
  set(message, ASGI_NAME("body"), body_.taken());
  body_told_ = body_.ended();
  set(message, ASGI_NAME("more_body"), body_told_ ? Py_False : Py_True);
  return message;
}

// As uWSGI's own functions, for so many seconds at most (--socket-timeout).
void HttpConnection::await_body() {
  if (!readable_.active()) readable_.start(request().fd, EV_READ);
  if (!late_.active() && uwsgi.socket_timeout > 0) late_.start(uwsgi.socket_timeout);
}

void HttpConnection::on_readable(int) noexcept {
  readable_.stop();
  late_.stop();
  wake_receivers();
}

void HttpConnection::on_body_late() noexcept {
  uwsgi_log("tornado: %s: the client stopped sending its body\n", engine::name_of(request()).c_str());
  readable_.stop();
  body_broken_ = true;
  wake_receivers();
}

// On the fiber: FastCGI's body.
void HttpConnection::look() {
  if (!std::exchange(body_wanted_, false)) return;
  if (body_.read() == RequestBody::Got::kChunk) body_read_ = body_message();
  else body_broken_ = true;
  wake_receivers();
}

// --- What the application sends ------------------------------------------------------------------

void HttpConnection::send(PyObject* message) {
  const std::string_view type = type_of(message);
  if (response_ == Response::kComplete) raise_unexpected(type, "the response is complete");
  if (is_lost()) raise(PyExc_ConnectionResetError, "the client has disconnected");
  if (type == "http.response.start") start_response(message);
  else if (type == "http.response.body") send_body(message);
  else if (type == "http.response.pathsend") send_file(message);
  else if (type == "http.response.trailers") send_trailers(message);
  else if (type == "http.response.early_hint") send_early_hint(message);
  else raise_unexpected(type, "an http response has no message of this type");
}

// Nothing is written before the first of the body is there.
void HttpConnection::start_response(PyObject* message) {
  if (response_ != Response::kNotStarted)
    raise_unexpected("http.response.start", "the response has started already");
  const int status = status_of(message);
  headers_ = headers_of(message, ASGI_NAME("headers"));
  trailers_ = flag(message, ASGI_NAME("trailers"), false);
  status_ = status;
  response_ = Response::kStarted;
  choose_framing();
}

// A body without a length is sent in chunks, where the client reads what is written here and knows them.
void HttpConnection::choose_framing() {
  // A transformation of uWSGI's would change what frames them, too.
  const bool knows_chunks =
      speaks_http(request()) && is_http_1_1(request()) && request().transformations == nullptr;
  bodiless_ =
      std::string_view(request().method, request().method_len) == "HEAD" || status_ == 204 || status_ == 304;
  for (auto header = headers_.begin(); header != headers_.end();) {
    if (equal_ignoring_case(header->name, "content-length")) {
      has_length_ = parse_length(header->value, length_);
      if (!has_length_) raise(PyExc_ValueError, "the value of Content-Length must be a number");
    }
    // Framing is the server's.
    const bool framing = equal_ignoring_case(header->name, "transfer-encoding");
    if (framing && knows_chunks && !bodiless_) chunked_ = true;
    header = framing ? headers_.erase(header) : header + 1;
  }
  if (!has_length_ && knows_chunks && !bodiless_) chunked_ = true;
  if (chunked_) headers_.push_back({"transfer-encoding", "chunked"});
}

void HttpConnection::count(std::size_t size) {
  body_size_ += size;
  if (has_length_ && !chunked_ && !bodiless_ && body_size_ > length_) {
    raise(PyExc_RuntimeError, "the body is longer than its Content-Length");
  }
}

void HttpConnection::send_body(PyObject* message) {
  if (response_ == Response::kNotStarted)
    raise_unexpected("http.response.body", "http.response.start must be sent first");
  if (response_ == Response::kTrailers)
    raise_unexpected("http.response.body", "the body has ended; only trailers may follow");
  PyRef data = body_of(message, ASGI_NAME("body"));
  const bool more = flag(message, ASGI_NAME("more_body"), false);
  const std::string_view text = view_of(data);
  count(text.size());
  const bool begun = std::exchange(response_, Response::kBody) == Response::kBody;
  if (!more) end_body();
  if (begun && gathers() && text.size() <= kPiece) return gather_piece(text, more);
  if (more) gather_from_now();
  put({kBody, std::move(data), more ? 0 : 1});
}

void HttpConnection::gather_piece(std::string_view data, bool more) {
  std::string& pieces = gathered();
  const std::size_t before = pieces.size();
  if (!bodiless_ && !data.empty()) {
    if (chunked_) pieces.append(hexadecimal(data.size())).append("\r\n");
    pieces.append(data);
    if (chunked_) pieces.append("\r\n");
  }
  if (!more && chunked_ && !bodiless_) pieces.append(trailers_ ? "0\r\n" : "0\r\n\r\n");
  added(pieces.size() - before);
  if (!more) put({kEnd});
}

void HttpConnection::end_body() {
  if (has_length_ && !chunked_ && !bodiless_ && body_size_ < length_) {
    raise(PyExc_RuntimeError, "the body is shorter than its Content-Length");
  }
  response_ = trailers_ ? Response::kTrailers : Response::kComplete;
}

// Throws PyError: an OSError that names the file.
Connection::File HttpConnection::open_file(PyObject* path, std::size_t& size) {
  PyObject* encoded = nullptr;
  if (PyUnicode_FSConverter(path, &encoded) == 0) throw PyError{};
  const PyRef name = PyRef::steal(encoded);
  File file(open(PyBytes_AS_STRING(name.get()), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  const bool opened = file.get() >= 0 && fstat(file.get(), &status) == 0;
  if (opened && !S_ISREG(status.st_mode)) errno = EISDIR;
  if (!opened || !S_ISREG(status.st_mode)) {
    PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
    throw PyError{};
  }
  size = static_cast<std::size_t>(status.st_size);
  return file;
}

void HttpConnection::send_file(PyObject* message) {
  if (response_ != Response::kStarted) {
    raise_unexpected("http.response.pathsend", "it must follow http.response.start and replaces the body");
  }
  PyObject* const path = get(message, ASGI_NAME("path"));
  if (path == nullptr || !PyUnicode_Check(path)) raise(PyExc_TypeError, "the path of a file must be a str");
  Output output;
  output.kind = kFile;
  output.file = open_file(path, body_size_);
  if (!has_length_) {  // It needs no chunks.
    if (std::exchange(chunked_, false)) headers_.pop_back();
    headers_.push_back({"content-length", std::to_string(body_size_)});
  }
  response_ = trailers_ ? Response::kTrailers : Response::kComplete;
  put(std::move(output));
}

void HttpConnection::send_trailers(PyObject* message) {
  if (response_ != Response::kTrailers) {
    raise_unexpected(
        "http.response.trailers",
        "trailers must follow the body, and http.response.start must announce them with trailers=True");
  }
  std::string lines;
  for (const Header& header : headers_of(message, ASGI_NAME("headers")))
    lines += header.name + ": " + header.value + "\r\n";
  const bool more = flag(message, ASGI_NAME("more_trailers"), false);
  if (!more) response_ = Response::kComplete;
  put({kTrailers, bytes(lines), more ? 0 : 1});
}

void HttpConnection::send_early_hint(PyObject* message) {
  if (response_ != Response::kNotStarted)
    raise_unexpected("http.response.early_hint", "the response has started");
  if (!speaks_http(request()) || !is_http_1_1(request())) return;
  PyObject* const links = get(message, ASGI_NAME("links"));
  if (links == nullptr) raise(PyExc_TypeError, "an early hint needs links");
  std::string text = "HTTP/1.1 103 Early Hints\r\n";
  const PyRef iterator = py_check(PyObject_GetIter(links));
  while (const PyRef link = PyRef::steal(PyIter_Next(iterator.get()))) {
    if (!PyBytes_Check(link.get())) raise(PyExc_TypeError, "a link of an early hint must be bytes");
    const std::string_view value = view_of(link);
    check_header("link", value);
    text += "link: " + std::string(value) + "\r\n";
  }
  if (PyErr_Occurred()) throw PyError{};
  put({kInformation, bytes(text + "\r\n")});
}

// --- Writing, on the fiber ------------------------------------------------------------------------

bool HttpConnection::write(Output& output) {
  if (output.kind == kFile) {
    if (!write_file(std::move(output.file), body_size_)) return false;
    written_ = !trailers_;
    return true;
  }
  if (output.kind == kEnd) {
    written_ = !trailers_;
    return true;
  }
  const std::string_view text = view_of(output.data);
  switch (output.kind) {
    case kInformation: return write_raw(text);
    case kTrailers: {
      std::string end = output.number != 0 ? std::string(text) + "\r\n" : std::string(text);
      if (!chunked_ || bodiless_) return output.number == 0 || (written_ = true);
      return write_raw(end) && (output.number == 0 || (written_ = true));
    }
    default: break;
  }
  if (!head_written_ && !write_head()) return false;
  const bool last = output.number != 0;
  if (!write_body(output.data.get())) return false;
  if (!last) return true;
  if (chunked_ && !bodiless_ && !write_raw(trailers_ ? "0\r\n" : "0\r\n\r\n")) return false;
  written_ = !trailers_;
  return true;
}

// uWSGI sends it with the first of the body.
bool HttpConnection::write_head() {
  head_written_ = true;
  if (!prepare_head(request(), status_, headers_)) return false;
  return !bodiless_ || uwsgi_response_write_headers_do(&request()) == UWSGI_OK;
}

bool HttpConnection::write_body(PyObject* data) {
  if (bodiless_) return true;
  const std::string_view text(PyBytes_AS_STRING(data), static_cast<std::size_t>(PyBytes_GET_SIZE(data)));
  if (chunked_) return write_chunk(text);
  if (text.empty()) return uwsgi_response_write_headers_do(&request()) == UWSGI_OK;
  return uwsgi_response_write_body_do(&request(), const_cast<char*>(text.data()), text.size()) == UWSGI_OK;
}

bool HttpConnection::write_chunk(std::string_view data) {
  if (data.empty()) return uwsgi_response_write_headers_do(&request()) == UWSGI_OK;
  std::string framed = hexadecimal(data.size()) + "\r\n";
  if (data.size() > kCopied) {
    return write_raw(framed) &&
           uwsgi_response_write_body_do(&request(), const_cast<char*>(data.data()), data.size()) ==
               UWSGI_OK &&
           write_raw("\r\n");
  }
  framed.reserve(framed.size() + data.size() + 2);
  framed.append(data).append("\r\n");
  return write_raw(framed);
}

// Before the head it is information; uWSGI writes that as it is.
bool HttpConnection::write_raw(std::string_view text) {
  auto* const bytes = const_cast<char*>(text.data());
  if (head_written_) return uwsgi_response_write_body_do(&request(), bytes, text.size()) == UWSGI_OK;
  const bool written = uwsgi_simple_write(&request(), bytes, text.size()) == 0;
  request().write_pos = 0;
  return written;
}

bool HttpConnection::write_file(File file, std::size_t size) {
  if (!write_head()) return false;
  if (bodiless_ || size == 0) return uwsgi_response_write_headers_do(&request()) == UWSGI_OK;
  return uwsgi_response_sendfile_do(&request(), file.release(), 0, size) == UWSGI_OK;  // Which closes it.
}

// --- The end ----------------------------------------------------------------------------------------

// What has gone wrong is logged by uWSGI as a WSGI application's exception is, and answered by the core where
// nothing has been sent.
void HttpConnection::finish(const PyRef& exception) {
  if (written_) return;
  auto& interruption = attached_thread().task().interruption();
  const bool interrupted = interruption.begun();
  if (is_lost() && !interrupted) return;  // Nobody is there to be answered.
  if (interrupted) {
    interruption.raise();
  } else if (exception) {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())), exception.get());
  } else {
    PyErr_SetString(PyExc_RuntimeError, response_ == Response::kNotStarted
                                            ? "the application returned without a response"
                                            : "the application returned before the end of its response");
  }
  uwsgi_manage_exception(&request(), uwsgi.catch_exceptions);
}

void HttpConnection::detach() noexcept {
  readable_.stop();
  late_.stop();
  Connection::detach();
}

}  // namespace asgi
