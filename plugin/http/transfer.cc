#include "plugin/http/transfer.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "plugin/http/client.h"

namespace http {
namespace {

// What of a streamed body lies here before the sender is held back, and of the request's own
// before its giver should wait.
constexpr std::size_t kHeldMax = 256 << 10;

template <typename Value>
void set(CURL* easy, CURLoption option, Value value) {
  const CURLcode code = libcurl().easy_setopt(easy, option, value);
  if (code == CURLE_OUT_OF_MEMORY) throw std::bad_alloc();
  if (code == CURLE_OK) return;
  const curl_easyoption* const known = libcurl().easy_option_by_id(option);
  throw std::invalid_argument(std::string("libcurl refuses the option ") +
                              (known != nullptr ? known->name : "?") + ": " + libcurl().easy_strerror(code));
}

void set_text(CURL* easy, CURLoption option, const std::string& text) {
  if (!text.empty()) set(easy, option, text.c_str());
}

long in_ms(double seconds) noexcept {
  return seconds <= 0 ? 0 : std::max(1L, static_cast<long>(seconds * 1000));
}

long http_version_of(const Request& request) {
  if (request.http_version == "1.0") return CURL_HTTP_VERSION_1_0;
  if (request.http_version == "1.1") return CURL_HTTP_VERSION_1_1;
  if (request.http_version == "2") return CURL_HTTP_VERSION_2_0;
  if (request.http_version.empty()) return CURL_HTTP_VERSION_2TLS;
  throw std::invalid_argument("http_version must be \"1.0\", \"1.1\" or \"2\", not \"" +
                              request.http_version + "\"");
}

long auth_of(AuthMode mode) noexcept { return mode == AuthMode::kDigest ? CURLAUTH_DIGEST : CURLAUTH_BASIC; }

// libcurl quotes some URLs (a proxy's) with the password in them.
const char* describe(CURLcode result, const char* details) noexcept {
  const bool may_be_told = details[0] != '\0' && std::strchr(details, '@') == nullptr;
  return may_be_told ? details : libcurl().easy_strerror(result);
}

// A URL that may go into a log.
std::string without_credentials(std::string url) {
  const std::size_t scheme = url.find("://");
  const std::size_t host = scheme == std::string::npos ? 0 : scheme + 3;
  const std::size_t at = url.substr(0, url.find_first_of("/?#", host)).rfind('@');
  if (at != std::string::npos && at >= host) url.erase(host, at + 1 - host);
  return url;
}

}  // namespace

Transfer::Transfer(Client& client, Request request)
    : client_(&client),
      request_(std::move(request)),
      easy_(client.take_easy()),
      head_({request_.max_header_size, request_.follow_redirects, request_.username.has_value()}) {
  try {
    set_up();
    client.know(*this);
  } catch (...) {
    client.give_easy_back(easy_, false);
    throw;
  }
}

Transfer::~Transfer() {
  if (client_ == nullptr) return;
  client_->forget(*this);
}

// --- What is asked of libcurl -------------------------------------------------------------------

void Transfer::set_up() {
  set_up_callbacks();
  set_up_limits();
  set_up_protocol();
  set_up_credentials();
  set_up_method();
  set_up_body();
  set_up_headers();
  for (const auto& [option, number] : request_.curl_numbers) {
    const auto id = static_cast<CURLoption>(option);
    if (option >= CURLOPTTYPE_OFF_T) set(easy_, id, static_cast<curl_off_t>(number));
    else set(easy_, id, static_cast<long>(number));
  }
  for (const auto& [option, text] : request_.curl_texts)
    set(easy_, static_cast<CURLoption>(option), text.c_str());
}

void Transfer::set_up_callbacks() {
  set(easy_, CURLOPT_NOSIGNAL, 1L);
#if CURL_AT_LEAST_VERSION(7, 87, 0)
  // A transfer that is given up during a name lookup does not wait for the lookup's end.
  set(easy_, CURLOPT_QUICK_EXIT, 1L);
#endif
  set(easy_, CURLOPT_PRIVATE, this);
  set(easy_, CURLOPT_ERRORBUFFER, error_buffer_.data());
  set(easy_, CURLOPT_HEADERFUNCTION, &on_header);
  set(easy_, CURLOPT_HEADERDATA, this);
  set(easy_, CURLOPT_WRITEFUNCTION, &on_body);
  set(easy_, CURLOPT_WRITEDATA, this);
  set(easy_, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
}

void Transfer::set_up_limits() {
  const double connect_s = request_.connect_timeout_s;
  // 0 would be libcurl's own 300 s.
  set(easy_, CURLOPT_CONNECTTIMEOUT_MS, connect_s <= 0 ? 7L * 24 * 3600 * 1000 : in_ms(connect_s));
  set(easy_, CURLOPT_TIMEOUT_MS, in_ms(request_.request_timeout_s));
  if (request_.stall_timeout_s > 0) {
    set(easy_, CURLOPT_LOW_SPEED_LIMIT, 1L);
    set(easy_, CURLOPT_LOW_SPEED_TIME, std::max(1L, static_cast<long>(request_.stall_timeout_s + 0.5)));
  }
  if (request_.max_body_size > 0 && !request_.streamed) {
    set(easy_, CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(request_.max_body_size));
  }
}

void Transfer::set_up_protocol() {
  set(easy_, CURLOPT_URL, request_.url.c_str());
  set(easy_, CURLOPT_PROTOCOLS_STR, request_.protocols.c_str());
  set(easy_, CURLOPT_REDIR_PROTOCOLS_STR, request_.protocols.c_str());
  set(easy_, CURLOPT_FOLLOWLOCATION, request_.follow_redirects ? 1L : 0L);
  set(easy_, CURLOPT_MAXREDIRS, request_.max_redirects);
  set(easy_, CURLOPT_HTTP_VERSION, http_version_of(request_));
  // With HTTP/2 a burst of first requests shares one connection.
  if (request_.http_version == "2") set(easy_, CURLOPT_PIPEWAIT, 1L);
  if (request_.accept_encoding) set(easy_, CURLOPT_ACCEPT_ENCODING, request_.accept_encoding->c_str());
  set_text(easy_, CURLOPT_USERAGENT, request_.user_agent);
  set_text(easy_, CURLOPT_UNIX_SOCKET_PATH, request_.unix_socket);
  set_text(easy_, CURLOPT_INTERFACE, request_.interface);
  if (!request_.allow_ipv6) set(easy_, CURLOPT_IPRESOLVE, static_cast<long>(CURL_IPRESOLVE_V4));
}

void Transfer::set_up_credentials() {
  if (request_.username) {
    set(easy_, CURLOPT_USERNAME, request_.username->c_str());
    set(easy_, CURLOPT_PASSWORD, request_.password.c_str());
    set(easy_, CURLOPT_HTTPAUTH, auth_of(request_.auth_mode));
  }
  if (request_.proxy) set(easy_, CURLOPT_PROXY, request_.proxy->c_str());
  if (request_.proxy_username) {
    set(easy_, CURLOPT_PROXYUSERNAME, request_.proxy_username->c_str());
    set(easy_, CURLOPT_PROXYPASSWORD, request_.proxy_password.c_str());
    set(easy_, CURLOPT_PROXYAUTH, auth_of(request_.proxy_auth_mode));
  }
  if (!request_.verify) {
    set(easy_, CURLOPT_SSL_VERIFYPEER, 0L);
    set(easy_, CURLOPT_SSL_VERIFYHOST, 0L);
  }
  set_text(easy_, CURLOPT_CAINFO, request_.ca_certs);
  set_text(easy_, CURLOPT_SSLCERT, request_.client_cert);
  set_text(easy_, CURLOPT_SSLKEY, request_.client_key);
  set_text(easy_, CURLOPT_SSL_CIPHER_LIST, request_.ciphers);
}

void Transfer::set_up_headers() {
  bool says_expect = false;
  for (const std::string& line : request_.headers) {
    says_expect = says_expect || is_header(line, "Expect", kEndsOfRequestName);
    add_header_line(line.c_str());
  }
  // libcurl's own, for large bodies, costs a second where the server does not know it.
  if (request_.has_body && !says_expect) add_header_line("Expect:");
  if (header_list_) set(easy_, CURLOPT_HTTPHEADER, header_list_.get());
}

void Transfer::add_header_line(const char* line) {
  curl_slist* const longer = libcurl().slist_append(header_list_.get(), line);
  if (longer == nullptr) throw std::bad_alloc();
  static_cast<void>(header_list_.release());
  header_list_.reset(longer);
}

// libcurl changes those it has a name for after some redirects, as browsers do; others it keeps.
void Transfer::set_up_method() {
  const std::string& method = request_.method;
  if (method == "HEAD") set(easy_, CURLOPT_NOBODY, 1L);
  else if (method == "POST") set(easy_, CURLOPT_POST, 1L);
  else if (method == "PUT" && request_.has_body) set(easy_, CURLOPT_UPLOAD, 1L);
  else if (method != "GET" || request_.has_body) set(easy_, CURLOPT_CUSTOMREQUEST, method.c_str());
}

void Transfer::set_up_body() {
  const bool post = request_.method == "POST";
  if (!request_.has_body) {
    if (post) set(easy_, CURLOPT_POSTFIELDSIZE, 0L), set(easy_, CURLOPT_POSTFIELDS, "");
    return;
  }
  const bool later = request_.body_is_given_later;
  const curl_off_t size = later ? request_.body_size : static_cast<curl_off_t>(request_.body.size());
  if (post && !later) {
    set(easy_, CURLOPT_POSTFIELDSIZE_LARGE, size);
    set(easy_, CURLOPT_POSTFIELDS, request_.body.data());
    return;
  }
  set(easy_, CURLOPT_READFUNCTION, &on_read);
  set(easy_, CURLOPT_READDATA, this);
  set(easy_, CURLOPT_SEEKFUNCTION, &on_seek);
  set(easy_, CURLOPT_SEEKDATA, this);
  if (post) {
    set(easy_, CURLOPT_POSTFIELDSIZE_LARGE, size);
    return;
  }
  set(easy_, CURLOPT_UPLOAD, 1L);
  set(easy_, CURLOPT_INFILESIZE_LARGE, size);
}

void Transfer::start() {
  started_ = true;
  if (client_ == nullptr) throw std::runtime_error("the event loop of this transfer is closed");
  client_->start(*this);
}

// --- What comes back ----------------------------------------------------------------------------

void Transfer::touched() noexcept {
  if (client_ != nullptr) client_->touch(*this);
}

void Transfer::fail(std::string why) noexcept {
  if (error_.empty()) error_ = std::move(why);
}

std::size_t Transfer::take_header(const char* data, std::size_t size) {
  if (!head_.take_line({data, size})) {
    fail(head_.why());
    return 0;
  }
  if (request_.keeps_header_lines) {
    raw_lines_.emplace_back(data, size);
    touched();
  }
  if (head_.is_final()) head_came();
  return size;
}

void Transfer::head_came() {
  if (std::exchange(has_head_, true) || !request_.streamed) return;
  take_info();
  touched();
}

std::size_t Transfer::take_body_part(const char* data, std::size_t size) {
  if (request_.max_body_size > 0 && body_size_ + static_cast<std::int64_t>(size) > request_.max_body_size) {
    fail("the response's body is longer than " + std::to_string(request_.max_body_size) + " bytes");
    return 0;
  }
  head_came();
  if (request_.streamed) {
    if (!body_.empty() && body_.size() + size > kHeldMax) {
      receiving_paused_ = true;
      return CURL_WRITEFUNC_PAUSE;
    }
    touched();
  }
  body_size_ += static_cast<std::int64_t>(size);
  body_.append(data, size);
  return size;
}

std::string Transfer::take_body() {
  if (receiving_paused_ && !done_) {
    receiving_paused_ = false;
    if (client_ != nullptr) client_->wake(*this);
  }
  return std::exchange(body_, {});
}

// --- The request's body -------------------------------------------------------------------------

std::size_t Transfer::hand_body_over(char* buffer, std::size_t size) noexcept {
  if (has_wrong_size_) return CURL_READFUNC_ABORT;
  const std::string& all = request_.body_is_given_later ? given_ : request_.body;
  const std::size_t part = std::min(size, all.size() - sent_);
  if (part == 0 && request_.body_is_given_later && !given_all_) {
    wants_body_ = true;
    touched();
    return CURL_READFUNC_PAUSE;
  }
  std::memcpy(buffer, all.data() + sent_, part);
  sent_ += part;
  if (request_.body_is_given_later && sent_ == given_.size()) {
    given_.clear();
    sent_ = 0;
    if (!given_all_) touched();
  }
  return part;
}

// Wanted again after a redirect or a challenge.
int Transfer::seek(curl_off_t offset, int origin) noexcept {
  if (request_.body_is_given_later || origin != SEEK_SET) {
    fail("the body has been read and cannot be sent again, after a redirect or on another connection");
    return CURL_SEEKFUNC_CANTSEEK;
  }
  sent_ = static_cast<std::size_t>(offset);
  return CURL_SEEKFUNC_OK;
}

void Transfer::give_body(const char* data, std::size_t size) {
  given_size_ += static_cast<std::int64_t>(size);
  if (request_.body_size >= 0 && given_size_ > request_.body_size) {
    has_wrong_size_ = true;
    fail("the request's body is longer than its Content-Length");
  }
  given_.append(data, size);
  go_on_sending();
}

void Transfer::end_body() {
  given_all_ = true;
  if (given_size_ < request_.body_size) {
    has_wrong_size_ = true;
    fail("the request's body is shorter than its Content-Length");
  }
  go_on_sending();
}

void Transfer::go_on_sending() {
  if (std::exchange(wants_body_, false) && client_ != nullptr) client_->wake(*this);
}

// --- The end ------------------------------------------------------------------------------------

void Transfer::take_info() {
  const char* url = nullptr;
  if (libcurl().easy_getinfo(easy_, CURLINFO_EFFECTIVE_URL, &url) == CURLE_OK && url != nullptr)
    effective_url_ = without_credentials(url);
  const struct {
    CURLINFO info;
    double& where;
  } times[] = {
      {CURLINFO_NAMELOOKUP_TIME_T, timings_.namelookup},
      {CURLINFO_CONNECT_TIME_T, timings_.connect},
      {CURLINFO_APPCONNECT_TIME_T, timings_.appconnect},
      {CURLINFO_PRETRANSFER_TIME_T, timings_.pretransfer},
      {CURLINFO_STARTTRANSFER_TIME_T, timings_.starttransfer},
      {CURLINFO_TOTAL_TIME_T, timings_.total},
      {CURLINFO_REDIRECT_TIME_T, timings_.redirect},
  };
  for (const auto& time : times) {
    curl_off_t us = 0;
    if (libcurl().easy_getinfo(easy_, time.info, &us) == CURLE_OK) time.where = static_cast<double>(us) / 1e6;
  }
}

void Transfer::end(CURLcode result) {
  take_info();
  done_ = true;
  if (result == CURLE_OK && !head_.is_whole()) {
    result = CURLE_RECV_ERROR;
    fail("the connection was closed in the middle of the response's head");
  }
  result_ = result;
  if (result == CURLE_OK) has_head_ = true;
  else fail(describe(result, error_buffer_.data()));
  touched();
}

// --- Called by libcurl --------------------------------------------------------------------------

std::size_t Transfer::on_header(char* data, std::size_t size, std::size_t count, void* self) noexcept {
  return static_cast<Transfer*>(self)->take_header(data, size * count);
}

std::size_t Transfer::on_body(char* data, std::size_t size, std::size_t count, void* self) noexcept {
  return static_cast<Transfer*>(self)->take_body_part(data, size * count);
}

std::size_t Transfer::on_read(char* buffer, std::size_t size, std::size_t count, void* self) noexcept {
  return static_cast<Transfer*>(self)->hand_body_over(buffer, size * count);
}

int Transfer::on_seek(void* self, curl_off_t offset, int origin) noexcept {
  return static_cast<Transfer*>(self)->seek(offset, origin);
}

}  // namespace http
