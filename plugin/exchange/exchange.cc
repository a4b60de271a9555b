#include "plugin/exchange/exchange.h"

#include <sys/socket.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdint>
#include <optional>

#include "plugin/blocking/wait.h"
#include "plugin/blocking/watched.h"
#include "plugin/request/keep_alive.h"
#include "plugin/request/request_framing.h"

extern "C" {
ssize_t uwsgi_proto_base_read_body(wsgi_request*, char*, size_t);
int uwsgi_proto_base_write(wsgi_request*, char*, size_t);
}

namespace engine {
namespace {

constexpr std::size_t kPieceMax = 65536;  // Of a body, at once.
// In an exchange of so few turns, watching for the client's disconnect is not worth a system call.
constexpr int kTurnsUnwatched = 4;

bool is_again(int error) noexcept { return error == EAGAIN || error == EWOULDBLOCK || error == EINPROGRESS; }

bool is_name(std::string_view name, std::string_view lower_case) noexcept {
  return std::equal(name.begin(), name.end(), lower_case.begin(), lower_case.end(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == b; });
}

// The engine has told the client already, where it ends or does not understand the request.
bool close_is_announced(const wsgi_request& request) noexcept {
  for (const uwsgi_string_list* line = request.additional_headers; line != nullptr; line = line->next) {
    if (is_name({line->value, line->len}, "connection: close")) return true;
  }
  return false;
}

bool is_http(const uwsgi_socket& socket) noexcept {
  const char* const given = socket.proto_name != nullptr ? socket.proto_name : uwsgi.protocol;
  return given != nullptr && std::string_view(given).substr(0, 4) == "http";
}

}  // namespace

Exchange::Exchange(RequestThread& thread, ExchangeListener& listener) noexcept
    : thread_(thread),
      request_(thread.request()),
      listener_(listener),
      client_(thread.loop(), {[](void* self) noexcept { static_cast<Exchange*>(self)->lost(); }, this}),
      speaks_http_(is_http(*request_->socket)),
      body_size_(request_->post_cl) {
  const RequestFraming framing = framing_of(*request_);
  chunked_ = framing.transfer_encoding.given && !framing.content_length.given &&
             is_name(framing.transfer_encoding.text, "chunked");
}

// --- The fiber ----------------------------------------------------------------------------

bool Exchange::serve(loop::Deadline deadline) {
  watch_later();
  for (;;) {
    if (aborted_) return true;
    if (has_output()) {
      send_output();
      if (has_output()) continue;
      tell([](Exchange& self) noexcept { self.listener_.on_sent(); });
      continue;
    }
    if (ended_) return true;
    if (wanted_ > 0 && !gone_) {
      read_body();
      if (wanted_ == 0 || has_output()) continue;
    }
    const Wait how = wait(deadline);
    if (how == Wait::kInterrupted || deadline.passed()) return false;
    if (how == Wait::kOver && wanted_ > 0) lost();
  }
}

// What the application does wakes it, and, where it wants to read, the client does.
Exchange::Wait Exchange::wait(loop::Deadline deadline) {
  const bool reads = wanted_ > 0 && body_not_there_ && !gone_;
  suspend::Baton baton(thread_.fiber(), reads ? "read" : "application", suspend::Abort::kAllowed,
                       reads ? request_->fd : -1);
  std::optional<blocking::Watched> readable;
  if (reads) {
    readable.emplace(baton, request_->fd, EV_READ);
    deadline = deadline.sooner(body_due_);
  }
  baton_ = &baton;
  const suspend::Woken woken = blocking::wait(baton, deadline);
  baton_ = nullptr;
  if (woken == suspend::Woken::kInterrupted) return Wait::kInterrupted;
  return woken == suspend::Woken::kTimedOut ? Wait::kOver : Wait::kPosted;
}

// In the next turn, because the caller is in the middle of the application's code.
void Exchange::wake() noexcept {
  if (suspend::Baton* const baton = std::exchange(baton_, nullptr)) baton->post_next_turn();
}

// As wake(), but what ends meanwhile wakes it at once.
void Exchange::wake_later() noexcept {
  if (std::exchange(waking_, true)) return;
  tell([](Exchange& self) noexcept {
    self.waking_ = false;
    if (suspend::Baton* const baton = std::exchange(self.baton_, nullptr)) baton->post();
  });
}

// The version is the server's, whatever the client's is (RFC 9112, section 2.3); uWSGI gives the client's
// back.
bool Exchange::prepare_status() noexcept {
  char version[] = "HTTP/1.1";
  char* const protocol = request_->protocol;
  const auto protocol_len = request_->protocol_len;
  if (speaks_http_) {
    request_->protocol = version;
    request_->protocol_len = sizeof version - 1;
  }
  const auto size = static_cast<std::uint16_t>(status_.size());
  const bool fine = uwsgi_response_prepare_headers(request_, status_.data(), size) == 0;
  request_->protocol = protocol;
  request_->protocol_len = protocol_len;
  return fine;
}

bool Exchange::prepare_head() noexcept {
  if (!prepare_status()) return false;
  const bool announced = close_is_announced(*request_);
  for (auto& [name, value] : headers_) {
    if (announced && is_name(name, "connection") && is_name(value, "close")) continue;
    if (uwsgi_response_add_header(request_, name.data(), static_cast<std::uint16_t>(name.size()),
                                  value.data(), static_cast<std::uint16_t>(value.size())) != 0)
      return false;
  }
  headers_.clear();
  return true;
}

// uWSGI's functions send the head with the first bytes, apply what routes ask for, and wait.
void Exchange::send_output() noexcept {
  sending_ = true;
  std::string bytes = std::exchange(output_, {});
  bool fine = !std::exchange(head_waits_, false) || prepare_head();
  if (fine && (bytes.empty() || request_->ignore_body)) {
    fine = uwsgi_response_write_headers_do(request_) == UWSGI_OK;
  } else if (fine) {
    fine = uwsgi_response_write_body_do(request_, bytes.data(), bytes.size()) == UWSGI_OK;
  }
  sending_ = false;
  if (!fine) lost();
}

// --- The client ---------------------------------------------------------------------------

void Exchange::tell(void (*what)(Exchange&) noexcept) noexcept {
  struct Told {
    Exchange& exchange;
    void (*what)(Exchange&) noexcept;
  };
  listener_.keep();
  thread_.loop().add_callback({[](void* argument) noexcept {
                                 auto* const told = static_cast<Told*>(argument);
                                 Exchange& exchange = told->exchange;
                                 told->what(exchange);
                                 delete told;
                                 exchange.listener_.let_go();
                               },
                               new Told{*this, what}});
}

// Called on the fiber, and by what watches the client.
void Exchange::lost() noexcept {
  if (gone_ || over_) return;
  gone_ = true;
  client_.stop();
  tell([](Exchange& self) noexcept { self.listener_.on_gone(); });
}

void Exchange::watch_later() noexcept {
  if (turns_ > kTurnsUnwatched || over_ || ended_ || detached_ || gone_) return;
  if (turns_++ == kTurnsUnwatched) client_.start(request_->fd);
  else tell([](Exchange& self) noexcept { self.watch_later(); });
}

bool Exchange::keeps_connection() const noexcept {
  if (over_) return false;
  const RequestFraming framing = framing_of(*request_);
  return request_->socket->retry != nullptr && uwsgi.workers[uwsgi.mywid].manage_next_request != 0 &&
         body_is_delimited(framing) && asks_to_keep(framing);
}

// --- Its body -----------------------------------------------------------------------------

void Exchange::receive(std::size_t size) noexcept {
  if (over_) return;
  wanted_ = std::min(size, kPieceMax);
  body_not_there_ = false;
  body_due_ =
      uwsgi.socket_timeout > 0 ? loop::Deadline::after(uwsgi.socket_timeout) : loop::Deadline::never();
  wake();
}

// As read(2) does, from wherever uWSGI has it.
ssize_t Exchange::read_some(char* buffer, std::size_t size) noexcept {
  if (request_->post_file == nullptr && uwsgi.post_buffering == 0) {
    errno = 0;
    return request_->socket->proto_read_body(request_, buffer, size);
  }
  ssize_t got = 0;
  const char* const bytes = uwsgi_request_body_read(request_, static_cast<ssize_t>(size), &got);
  if (bytes == nullptr || got <= 0) return 0;
  std::copy_n(bytes, got, buffer);
  request_->post_pos -= static_cast<std::size_t>(got);  // Counted below.
  return got;
}

void Exchange::read_body() noexcept {
  received_.clear();
  if (!(chunked_ ? take_chunked() : take_plain())) return;
  wanted_ = 0;
  tell([](Exchange& self) noexcept {
    if (self.decoder_.broken()) self.listener_.on_malformed();
    else self.listener_.on_received(self.received_);
  });
}

// These are false where nothing has come yet, or the client is lost.

bool Exchange::take_plain() noexcept {
  const std::size_t left = request_->post_cl - std::min(request_->post_pos, request_->post_cl);
  received_.resize(std::min(wanted_, left));
  if (received_.empty()) return true;
  const ssize_t got = read_some(received_.data(), received_.size());
  if (!has_come(got)) return false;
  received_.resize(static_cast<std::size_t>(got));
  request_->post_pos += received_.size();
  return true;
}

bool Exchange::take_chunked() noexcept {
  for (;;) {
    std::string_view bytes = std::string_view(raw_).substr(decoded_);
    received_ = decoder_.next(bytes, wanted_);
    decoded_ = raw_.size() - bytes.size();
    if (!received_.empty() || decoder_.ended() || decoder_.broken()) return true;
    raw_.resize(kPieceMax);
    decoded_ = 0;
    const ssize_t got = read_some(raw_.data(), raw_.size());
    raw_.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (!has_come(got)) return false;
  }
}

bool Exchange::has_come(ssize_t got) noexcept {
  body_not_there_ = got < 0 && is_again(errno);
  if (got <= 0 && !body_not_there_) lost();
  return got > 0;
}

void Exchange::send_continue(std::string_view text) noexcept {
  if (over_ || started_ || gone_ || !speaks_http()) return;
  static_cast<void>(write(text.data(), text.size()));  // The first bytes of the connection: there is room.
}

// --- The response -------------------------------------------------------------------------

// The head goes with what follows in this turn.
void Exchange::start(std::string status, Headers headers) noexcept {
  if (over_ || started_) return;
  status_ = std::move(status);
  headers_ = std::move(headers);
  started_ = head_waits_ = true;
  wake_later();
}

// uWSGI's functions that do no more than write: not TLS's, nor FastCGI's, which wait.
bool Exchange::may_send_here() const noexcept {
  return !has_output() && request_->headers_sent && request_->socket->proto_write == uwsgi_proto_base_write &&
         request_->transformations == nullptr && !request_->ignore_body && request_->write_errors == 0;
}

bool Exchange::send(std::string_view bytes) noexcept {
  assert(started_);
  if (over_ || gone_ || aborted_ || bytes.empty()) return true;
  if (may_send_here()) {
    const ssize_t written = write(bytes.data(), bytes.size());
    if (written < 0 && !is_again(errno)) {
      ++request_->write_errors;
      lost();
      return true;
    }
    if (written > 0) bytes.remove_prefix(static_cast<std::size_t>(written));
    if (bytes.empty()) return true;
  }
  output_.append(bytes);
  wake_later();
  return false;
}

// The fiber runs now, because no more data will come for it.
void Exchange::end() noexcept {
  if (over_) return;
  ended_ = true;
  if (suspend::Baton* const baton = std::exchange(baton_, nullptr)) baton->post();
}

void Exchange::abort() noexcept {
  if (over_) return;
  aborted_ = ended_ = true;
  head_waits_ = false;
  output_.clear();
  shutdown(request_->fd, SHUT_RDWR);
  if (sending_) return;  // It fails.
  wake();
}

void Exchange::leave() noexcept {
  over_ = ended_ = true;
  client_.stop();
}

// --- Another protocol ---------------------------------------------------------------------

void Exchange::detach() noexcept {
  if (over_) return;
  detached_ = true;
  client_.stop();
#ifdef UWSGI_SSL
  // What a write could not send is given anew, from elsewhere and with more behind it.
  if (request_->ssl != nullptr)
    SSL_set_mode(request_->ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_ENABLE_PARTIAL_WRITE);
#endif
}

ssize_t Exchange::read(char* buffer, std::size_t size) noexcept {
  if (over_ || aborted_) return 0;
#ifdef UWSGI_SSL
  if (request_->ssl != nullptr && request_->proto_parser_remains == 0) {
    const int got = SSL_read(request_->ssl, buffer, static_cast<int>(std::min<std::size_t>(size, kPieceMax)));
    if (got > 0) return got;
    const int error = SSL_get_error(request_->ssl, got);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) return 0;
    errno = EAGAIN;
    return -1;
  }
#endif
  errno = 0;
  return request_->socket->proto_read_body(request_, buffer, size);
}

ssize_t Exchange::write(const char* bytes, std::size_t size) noexcept {
  if (over_ || aborted_) {
    errno = EPIPE;
    return -1;
  }
  ssize_t written;
#ifdef UWSGI_SSL
  if (request_->ssl != nullptr) {
    written = SSL_write(request_->ssl, bytes, static_cast<int>(std::min<std::size_t>(size, kPieceMax)));
    if (written <= 0) {
      const int error = SSL_get_error(request_->ssl, static_cast<int>(written));
      errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
      return -1;
    }
  } else
#endif
    written = ::send(request_->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (written > 0 && request_->headers_sent) request_->response_size += static_cast<std::size_t>(written);
  return written;
}

}  // namespace engine
