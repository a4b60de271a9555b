#include "plugin/engine/refusals.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <string_view>

#include "plugin/loop/clock.h"
#include "plugin/uwsgi/options.h"

namespace engine {
namespace {

constexpr int kRefusalsPerWakeUp = 64;

const char* reason(int status) noexcept {
  return status == 429 ? "Too Many Requests" : "Service Unavailable";
}

std::string protocol_of(const uwsgi_socket& socket) {
  const char* name = socket.proto_name != nullptr ? socket.proto_name : uwsgi.protocol;
  return name != nullptr ? name : "uwsgi";
}

bool is_tls(const uwsgi_socket& socket) noexcept {
#ifdef UWSGI_SSL
  return socket.proto_accept == uwsgi_proto_ssl_accept;
#else
  (void)socket;
  return false;
#endif
}

// As records of FastCGI: its output, and the end of the request. Web servers number the one request of
// a connection 1.
std::string as_fastcgi(const std::string& output) {
  const auto record = [](char type, const std::string& content) {
    const auto size = static_cast<unsigned>(content.size());
    const char header[] = {1, type, 0, 1, static_cast<char>(size >> 8), static_cast<char>(size & 0xff), 0, 0};
    return std::string(header, sizeof header) + content;
  };
  return record(6, output) + record(6, "") + record(3, std::string(8, '\0'));
}

}  // namespace

std::string refusal(const uwsgi_socket& socket, int status) {
  const std::string protocol = protocol_of(socket);
  if (is_tls(socket) || socket.edge_trigger != 0 || protocol == "raw") return "";
  const std::string said = std::to_string(status) + ' ' + reason(status);
  const std::string body = std::string(reason(status)) + '\n';
  const int retry_after_s = static_cast<int>(std::ceil(std::max(1.0, options().overload_wait_s)));
  const bool gateway = socket.proto_prepare_headers == uwsgi_proto_base_cgi_prepare_headers;
  const std::string answer =
      (gateway ? "Status: " : "HTTP/1.1 ") + said +
      "\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(body.size()) +
      "\r\nRetry-After: " + std::to_string(retry_after_s) + "\r\n\r\n" + body;
  return protocol.rfind("fastcgi", 0) == 0 ? as_fastcgi(answer) : answer;
}

void Refusals::begin() noexcept {
  since_begun_ = 0;
  begun_s_ = loop::monotonic_s();
}

void Refusals::end() noexcept {
  if (since_begun_ == 0) return;
  uwsgi_log("tornado: cores are free again: %llu connections were answered %d in %.1f s\n",
            static_cast<unsigned long long>(since_begun_), options().overload_status,
            loop::monotonic_s() - begun_s_);
}

int Refusals::refuse_from(const uwsgi_socket& socket, const std::string& answer) noexcept {
  for (int i = 0; i < kRefusalsPerWakeUp; ++i) {
    const int fd = accept4(socket.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return errno;
    ++count_;
    if (since_begun_++ == 0) {
      uwsgi_log("tornado: all %d cores busy for %.1f s: answering %d\n", uwsgi.async,
                options().overload_wait_s, options().overload_status);
    }
    lingering_close_.say(fd, answer);
  }
  return 0;
}

void Refusals::refuse(int fd, const std::string& answer) noexcept {
  const int own = answer.empty() ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (own < 0) return;
  ++count_;
  lingering_close_.say(own, answer);
}

}  // namespace engine
