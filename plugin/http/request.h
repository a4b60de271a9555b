// A request to a server.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace http {

enum class AuthMode { kBasic, kDigest };

// Texts are as sent. Times are in seconds; 0 means no limit.
struct Request {
  std::string url;
  std::string method = "GET";
  // "Name: value" each; "Name:" omits one that libcurl would send.
  std::vector<std::string> headers;

  bool has_body = false;
  std::string body;
  // The body comes by Transfer::give_body() instead; its size when known, else it goes in chunks.
  bool body_is_given_later = false;
  std::int64_t body_size = -1;

  double connect_timeout_s = 20;
  double request_timeout_s = 20;
  // How long both directions may be silent.
  double stall_timeout_s = 0;
  bool follow_redirects = true;
  long max_redirects = 5;
  // Encodings to accept and decode; empty for all of libcurl's. If unset, bodies stay as they come.
  std::optional<std::string> accept_encoding;

  std::string user_agent;
  std::optional<std::string> username;
  std::string password;
  AuthMode auth_mode = AuthMode::kBasic;
  std::optional<std::string> proxy;  // A URL; empty: none, whatever the environment says.
  std::optional<std::string> proxy_username;
  std::string proxy_password;
  AuthMode proxy_auth_mode = AuthMode::kBasic;

  bool verify = true;
  std::string ca_certs;
  std::string client_cert;
  std::string client_key;
  std::string ciphers;
  std::string http_version;  // "1.0", "1.1", "2", or empty: what the server offers, over TLS.
  std::string unix_socket;
  std::string interface;
  bool allow_ipv6 = true;
  std::string protocols = "http,https";

  std::int64_t max_body_size = 100 << 20;
  std::int64_t max_header_size = 64 << 10;

  // Body bytes are handed over as they come; what is not taken holds the sender back.
  bool streamed = false;
  // Each header line is handed over as it came, those of redirects too.
  bool keeps_header_lines = false;
  // libcurl options by number, for users who know them.
  std::vector<std::pair<int, std::int64_t>> curl_numbers;
  std::vector<std::pair<int, std::string>> curl_texts;
  bool has_curl_options() const noexcept { return !curl_numbers.empty() || !curl_texts.empty(); }
};

}  // namespace http
