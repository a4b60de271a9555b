#include "plugin/asgi/websocket_connection.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "plugin/asgi/response.h"
#include "plugin/python/interruption.h"
#include "plugin/uwsgi/options.h"
#include "plugin/uwsgi/python_bridge.h"

namespace asgi {
namespace {

using engine::Opcode;
using python::py_check;
using python::PyError;
using python::PyRef;
using python::raise;

// What is kept for an application that does not receive.
constexpr std::size_t kMostMessages = 32;
constexpr std::size_t kMostBytes = 64 << 10;
constexpr std::uint64_t kMessageMax = 16 << 20;
constexpr std::size_t kReasonMax = 123;  // RFC 6455, section 5.5.
constexpr int kInternalError = 1011;

std::string lower(std::string_view text) {
  std::string made(text);
  for (char& c : made) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return made;
}

// One of the elements of a list in a header, whatever its case.
bool has_element(std::string_view list, std::string_view element) {
  const std::string all = lower(list);
  for (std::size_t at = 0; at <= all.size();) {
    const std::size_t end = std::min(all.find(',', at), all.size());
    const std::size_t first = all.find_first_not_of(" \t", at);
    const std::size_t last = all.find_last_not_of(" \t", end == 0 ? 0 : end - 1);
    if (first < end && all.substr(first, last - first + 1) == element) return true;
    at = end + 1;
  }
  return false;
}

PyRef subprotocols_of(wsgi_request& request) {
  PyRef list = py_check(PyList_New(0));
  const std::string all(variable(request, "HTTP_SEC_WEBSOCKET_PROTOCOL"));
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t end = std::min(all.find(',', at), all.size());
    const std::size_t first = all.find_first_not_of(" \t", at);
    const std::size_t last = all.find_last_not_of(" \t", end == 0 ? 0 : end - 1);
    if (first < end) {
      const PyRef one = py_check(
          PyUnicode_DecodeLatin1(all.data() + first, static_cast<Py_ssize_t>(last - first + 1), nullptr));
      python::py_check_status(PyList_Append(list.get(), one.get()));
    }
    at = end + 1;
  }
  return list;
}

// Sec-WebSocket-Accept of a key (RFC 6455, section 4.2.2); empty where uWSGI was built without TLS, which has
// the hash.
std::string accept_of(std::string_view key) {
#ifdef UWSGI_SSL
  static constexpr char kGuid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  char hash[20];
  if (uwsgi_sha1_2n(const_cast<char*>(key.data()), key.size(), const_cast<char*>(kGuid), sizeof kGuid - 1,
                    hash) == nullptr)
    return {};
  std::size_t size = 0;
  char* const text = uwsgi_base64_encode(hash, sizeof hash, &size);
  if (text == nullptr) return {};
  std::string made(text, size);
  std::free(text);
  return made;
#else
  (void)key;
  return {};
#endif
}

bool is_of_handshake(std::string_view name) {
  for (const char* one : {"upgrade", "connection", "sec-websocket-accept", "sec-websocket-protocol",
                          "sec-websocket-extensions", "content-length", "transfer-encoding"}) {
    if (equal_ignoring_case(name, one)) return true;
  }
  return false;
}

// uWSGI's --websockets-max-size where it was given.
std::uint64_t message_max() noexcept {
  return engine::was_given("websockets-max-size") ? uwsgi.websockets_max_size * 1024 : kMessageMax;
}

}  // namespace

bool asks_for_websocket(const Asked& asked) {
  return !asked.upgrade.empty() && has_element(asked.upgrade, "websocket") &&
         has_element(asked.connection, "upgrade");
}

const char* why_no_websocket(wsgi_request& request) noexcept {
  const bool get = std::string_view(request.method, request.method_len) == "GET";
  if (!get || variable(request, "HTTP_SEC_WEBSOCKET_KEY").empty()) return "400 Bad Request";
  if (variable(request, "HTTP_SEC_WEBSOCKET_VERSION") != "13") return "426 Upgrade Required";
  return nullptr;
}

WebSocketConnection::WebSocketConnection(engine::RequestThread& thread, PyObject* state) noexcept
    : Connection(thread), state_of_application_(state), readable_(thread.loop().raw(), this) {}

PyRef WebSocketConnection::make_scope() {
  static PyObject* const usual = usual_scope("websocket", "ws").release();
  PyRef scope = asgi::make_scope(request(), usual, state_of_application_);
  if (is_secure(request())) set(scope, ASGI_NAME("scheme"), ASGI_NAME("wss"));
  set(scope, ASGI_NAME("subprotocols"), subprotocols_of(request()));
  const PyRef extensions = py_check(PyDict_New());
  set(extensions, ASGI_NAME("websocket.http.response"), py_check(PyDict_New()));
  set(scope, ASGI_NAME("extensions"), extensions);
  return scope;
}

// --- Receiving ------------------------------------------------------------------------------------

PyRef WebSocketConnection::receive() {
  if (!std::exchange(connect_told_, true)) {
    PyRef message = py_check(PyDict_New());
    set(message, ASGI_NAME("type"), ASGI_NAME("websocket.connect"));
    return message;
  }
  if (!messages_.empty()) return next_message();
  if (state_ == State::kClosed || is_lost() || thread() == nullptr) return disconnect_message();
  if (state_ == State::kConnecting) watch_client();
  return {};
}

PyRef WebSocketConnection::next_message() {
  const Message next = std::move(messages_.front());
  messages_.pop_front();
  const bool was_full = !wants_messages();
  messages_size_ -= next.size;
  if (was_full) notify();
  PyRef message = py_check(PyDict_New());
  set(message, ASGI_NAME("type"), ASGI_NAME("websocket.receive"));
  set(message, PyUnicode_Check(next.data.get()) ? ASGI_NAME("text") : ASGI_NAME("bytes"), next.data);
  return message;
}

PyRef WebSocketConnection::disconnect_message() const {
  PyRef message = py_check(PyDict_New());
  set(message, ASGI_NAME("type"), ASGI_NAME("websocket.disconnect"));
  set(message, ASGI_NAME("code"), py_check(PyLong_FromLong(close_code_)));
  set(message, ASGI_NAME("reason"),
      py_check(PyUnicode_DecodeUTF8(close_reason_.data(), static_cast<Py_ssize_t>(close_reason_.size()),
                                    "replace")));
  return message;
}

bool WebSocketConnection::wants_messages() const noexcept {
  return messages_.size() < kMostMessages && messages_size_ <= kMostBytes;
}

// On the fiber.
void WebSocketConnection::look() {
  readable_.stop();
  if (state_ != State::kOpen || !websocket_) return;
  if (worker_ends_ && !websocket_->closed())
    websocket_->close(attached_thread(), engine::close_code::kGoingAway, {});
  read_messages();
  if (websocket_->closed()) note_closed();
  else if (wants_messages() && !readable_.active()) readable_.start(request().fd, EV_READ);
}

void WebSocketConnection::read_messages() {
  bool some = false;
  while (wants_messages()) {
    const auto got = websocket_->receive(attached_thread(), false, [&](bool text, std::string_view payload) {
      const auto size = static_cast<Py_ssize_t>(payload.size());
      PyRef data = text ? py_check(PyUnicode_DecodeUTF8(payload.data(), size, nullptr)) : bytes(payload);
      messages_.push_back({std::move(data), payload.size()});
      messages_size_ += payload.size();
    });
    if (got != engine::WebSocket::Received::kMessage) break;
    some = true;
  }
  if (some) wake_receivers();
}

void WebSocketConnection::note_closed() noexcept {
  state_ = State::kClosed;
  close_code_ = websocket_->close_code();
  close_reason_ = websocket_->close_reason();
  lost();
}

void WebSocketConnection::on_readable(int) noexcept {
  readable_.stop();
  notify();
}

double WebSocketConnection::looks_in_s() const noexcept {
  return websocket_ && state_ == State::kOpen && wants_messages() ? websocket_->silent_in_s() : -1;
}

void WebSocketConnection::going_away() noexcept {
  worker_ends_ = true;
  notify();
}

// --- What the application sends --------------------------------------------------------------------

void WebSocketConnection::send(PyObject* message) {
  const std::string_view type = type_of(message);
  if (closed_by_application_) raise_unexpected(type, "the websocket has been closed");
  if (state_ == State::kClosed || is_lost()) raise(PyExc_ConnectionResetError, "the client has disconnected");
  if (type == "websocket.accept") accept(message);
  else if (type == "websocket.send") send_message(message);
  else if (type == "websocket.close") close(message);
  else if (type == "websocket.http.response.start") deny(message);
  else if (type == "websocket.http.response.body") send_denial(message);
  else raise_unexpected(type, "a websocket has no message of this type");
}

void WebSocketConnection::accept(PyObject* message) {
  if (state_ != State::kConnecting)
    raise_unexpected("websocket.accept", "the websocket was accepted or denied before");
  std::string subprotocol;
  PyObject* const given = get(message, ASGI_NAME("subprotocol"));
  if (given != nullptr && given != Py_None) {
    const char* const text = PyUnicode_Check(given) ? PyUnicode_AsUTF8(given) : nullptr;
    if (text == nullptr && !PyErr_Occurred()) raise(PyExc_TypeError, "a subprotocol must be a str");
    if (text == nullptr) throw PyError{};
    subprotocol = text;
    check_header("sec-websocket-protocol", subprotocol);
  }
  std::vector<Header> headers = headers_of(message, ASGI_NAME("headers"));
  for (const Header& header : headers) {
    if (is_of_handshake(header.name))
      raise(PyExc_ValueError, "the server itself sends this header of the handshake");
  }
  headers_ = std::move(headers);
  state_ = State::kOpen;
  put({kAccept, bytes(subprotocol)});
}

void WebSocketConnection::send_message(PyObject* message) {
  if (state_ != State::kOpen) raise_unexpected("websocket.send", "websocket.accept must be sent first");
  PyObject* const text = get(message, ASGI_NAME("text"));
  PyObject* const data = get(message, ASGI_NAME("bytes"));
  const bool is_text = text != nullptr && text != Py_None;
  if (is_text == (data != nullptr && data != Py_None))
    raise(PyExc_ValueError, "a message must have either text or bytes");
  if (is_text && !PyUnicode_Check(text)) raise(PyExc_TypeError, "the text of a message must be a str");
  if (is_text) put({kText, py_check(PyUnicode_AsUTF8String(text))});
  else put({kBinary, body_of(message, ASGI_NAME("bytes"))});
}

void WebSocketConnection::close(PyObject* message) {
  if (state_ == State::kDenying) raise_unexpected("websocket.close", "the websocket is being denied");
  long code = engine::close_code::kNormal;
  PyObject* const given = get(message, ASGI_NAME("code"));
  if (given != nullptr && given != Py_None) code = PyLong_AsLong(given);
  if (code == -1 && PyErr_Occurred()) throw PyError{};
  if (!engine::close_code::may_be_sent(static_cast<int>(code))) {
    raise(PyExc_ValueError,
          "a close code must be from 1000 to 1014, except 1004 to 1006, or from 3000 to 4999");
  }
  PyRef reason = bytes({});
  PyObject* const text = get(message, ASGI_NAME("reason"));
  if (text != nullptr && text != Py_None) reason = py_check(PyUnicode_AsUTF8String(text));
  if (static_cast<std::size_t>(PyBytes_GET_SIZE(reason.get())) > kReasonMax)
    raise(PyExc_ValueError, "a close reason must not be longer than 123 bytes");
  closed_by_application_ = true;
  close_code_ = static_cast<int>(code);
  put({state_ == State::kOpen ? kClose : kRefusal, std::move(reason), close_code_});
}

void WebSocketConnection::deny(PyObject* message) {
  if (state_ != State::kConnecting)
    raise_unexpected("websocket.http.response.start", "the websocket was accepted or denied before");
  status_ = status_of(message);
  headers_ = headers_of(message, ASGI_NAME("headers"));
  state_ = State::kDenying;
}

void WebSocketConnection::send_denial(PyObject* message) {
  if (state_ != State::kDenying)
    raise_unexpected("websocket.http.response.body", "websocket.http.response.start must be sent first");
  const bool more = flag(message, ASGI_NAME("more_body"), false);
  PyRef body = body_of(message, ASGI_NAME("body"));
  closed_by_application_ = !more;
  put({kDenial, std::move(body), more ? 0 : 1});
}

// --- Writing, on the fiber ------------------------------------------------------------------------

bool WebSocketConnection::write(Output& output) {
  const std::string_view text = view_of(output.data);
  switch (output.kind) {
    case kAccept: return write_handshake(text);
    case kText: return websocket_->send(attached_thread(), Opcode::kText, text);
    case kBinary: return websocket_->send(attached_thread(), Opcode::kBinary, text);
    case kClose:
      websocket_->close(attached_thread(), output.number, text);
      answered_ = true;
      return true;
    case kRefusal: status_ = 403; return write_denial({}, true);
    default: return write_denial(text, output.number != 0);
  }
}

bool WebSocketConnection::write_handshake(std::string_view subprotocol) {
  const std::string key = accept_of(variable(request(), "HTTP_SEC_WEBSOCKET_KEY"));
  if (key.empty()) return false;
  std::vector<Header> headers = {
      {"Upgrade", "websocket"}, {"Connection", "Upgrade"}, {"Sec-WebSocket-Accept", key}};
  if (!subprotocol.empty()) headers.push_back({"Sec-WebSocket-Protocol", std::string(subprotocol)});
  headers.insert(headers.end(), headers_.begin(), headers_.end());
  if (!prepare_head(request(), 101, headers) || uwsgi_response_write_headers_do(&request()) != UWSGI_OK)
    return false;
  // Many websockets wait for long, and each would keep 4 KiB of sent data.
  uwsgi_buffer_destroy(std::exchange(request().headers, nullptr));
  websocket_ = std::make_unique<engine::WebSocket>(loop(), &request(), message_max());
  attached_thread().fiber().release_unused_stack();  // A handshake goes deeper than what follows.
  look();
  return true;
}

// The connection is closed after it, which is what delimits a body without a length.
bool WebSocketConnection::write_denial(std::string_view body, bool last) {
  if (!std::exchange(head_written_, true)) {
    if (!prepare_head(request(), status_, headers_) ||
        uwsgi_response_write_headers_do(&request()) != UWSGI_OK)
      return false;
  }
  if (!body.empty() &&
      uwsgi_response_write_body_do(&request(), const_cast<char*>(body.data()), body.size()) != UWSGI_OK)
    return false;
  answered_ = last;
  return true;
}

// --- The end --------------------------------------------------------------------------------------

void WebSocketConnection::finish(const PyRef& exception) {
  if (answered_) return;
  auto& interruption = attached_thread().task().interruption();
  const bool interrupted = interruption.begun();
  const bool open = websocket_ && !websocket_->closed();
  if (is_lost() && !open && !interrupted && !exception) return;
  if (exception && is_lost() && PyErr_GivenExceptionMatches(exception.get(), PyExc_ConnectionResetError))
    return;
  if (open) {
    const bool ends = worker_ends_ || attached_thread().limits().ended_by() == engine::EndedBy::kWorkerEnd;
    const int code = ends                       ? engine::close_code::kGoingAway
                     : exception || interrupted ? kInternalError
                                                : engine::close_code::kNormal;
    websocket_->close(attached_thread(), code, {});
    if (!exception && !interrupted) return;
  }
  if (interrupted) interruption.raise();
  else if (exception) PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())), exception.get());
  else
    PyErr_SetString(PyExc_RuntimeError,
                    "the application returned without accepting or closing the websocket");
  uwsgi_manage_exception(&request(), uwsgi.catch_exceptions);
}

void WebSocketConnection::detach() noexcept {
  readable_.stop();
  if (websocket_) websocket_->end(attached_thread());
  Connection::detach();
}

}  // namespace asgi
