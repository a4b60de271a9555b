// The load generator: one thread, one epoll, as many connections as asked.
//
//   load PORT PATH --connections C (--requests N | --seconds S) [--keep-alive] [--post SIZE] [--ramp-ms T]
//   [--timeout S]
//
// Closed loop: each connection sends its next request when the last is answered. Without
// --keep-alive every request has a connection of its own, read until the server closes it.
// With --post it sends a body of SIZE bytes. With --seconds the first fifth is not counted.
// Prints one JSON object.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "load_program.h"

namespace {

struct Options {
  int port = 0;
  std::string path;
  int connections = 1;
  long requests = 0;
  double seconds = 0;
  bool keep_alive = false;
  double ramp_s = 0;
  double timeout_s = 60;
  std::size_t post = 0;
};

struct Connection {
  int fd = -1;
  double asked_at_s = 0;
  std::size_t sent = 0;
  std::size_t received = 0;  // Of the present response.
  std::size_t expected = 0;  // Its full size, once the headers are in; keep-alive only.
  bool watches_output = false;
  bool reused = false;
  std::string headers;
};

class Load {
 public:
  explicit Load(const Options& options)
      : options_(options), epoll_(epoll_create1(0)), connections_(options.connections) {
    request_ =
        (options.post > 0 ? "POST " : "GET ") + options.path +
        " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: " + (options.keep_alive ? "keep-alive" : "close") +
        "\r\n";
    if (options.post > 0) request_ += "Content-Length: " + std::to_string(options.post) + "\r\n";
    request_ += "\r\n" + std::string(options.post, 'x');
    latencies_.reserve(1 << 20);
  }

  void run() {
    started_s_ = now_s();
    std::size_t opened = 0;
    while (!finished()) {
      const double elapsed = now_s() - started_s_;
      if (elapsed > options_.timeout_s) break;
      std::size_t due = connections_.size();
      if (options_.ramp_s > 0)
        due = std::min(due, static_cast<std::size_t>(due * elapsed / options_.ramp_s) + 1);
      while (opened < due) ask(connections_[opened++]);
      turn(opened < connections_.size() ? 1 : 100);
    }
    failed_ += outstanding_;
    ended_s_ = now_s();
  }

  void report() {
    std::sort(latencies_.begin(), latencies_.end());
    const double seconds = options_.seconds > 0 ? options_.seconds * 0.8 : ended_s_ - started_s_;
    std::printf(
        "{\"ok\": %ld, \"failed\": %ld, \"seconds\": %.4f, \"rate\": %.2f, \"p50_ms\": %.3f, "
        "\"p90_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n",
        ok_, failed_, ended_s_ - started_s_, latencies_.size() / seconds, percentile_ms(latencies_, 0.5),
        percentile_ms(latencies_, 0.9), percentile_ms(latencies_, 0.99), percentile_ms(latencies_, 1));
  }

 private:
  bool asks_more() const {
    if (options_.seconds > 0) return now_s() - started_s_ < options_.seconds;
    return asked_ < options_.requests;
  }

  bool finished() const { return outstanding_ == 0 && asked_ > 0 && !asks_more(); }

  // Starts the next request of a connection, or leaves it idle when there is none to start.
  void ask(Connection& connection) {
    if (!asks_more()) return;
    ++asked_;
    ++outstanding_;
    connection.asked_at_s = now_s();
    connection.sent = connection.received = connection.expected = 0;
    connection.headers.clear();
    connection.reused = connection.fd >= 0;
    if (connection.reused) send_on(connection);
    else open(connection);
  }

  // True where the server has closed a kept connection instead of answering: as any client, this one asks
  // again.
  bool asks_again(Connection& connection) {
    if (!connection.reused || connection.received > 0) return false;
    close(connection.fd);
    connection.reused = false;
    connection.sent = 0;
    open(connection);
    return true;
  }

  void open(Connection& connection) {
    connection.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connection.fd < 0) {
      std::perror("load: socket");
      std::exit(1);
    }
    const int yes = 1;
    setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    const sockaddr_in server = loopback(options_.port);
    const bool failed =
        connect(connection.fd, reinterpret_cast<const sockaddr*>(&server), sizeof server) != 0 &&
        errno != EINPROGRESS;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &connection;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.fd, &event);
    connection.watches_output = false;
    if (failed) end(connection, false);
    else send_on(connection);
  }

  void watch_output(Connection& connection, bool on) {
    if (connection.watches_output == on) return;
    connection.watches_output = on;
    epoll_event event{};
    event.events = on ? EPOLLIN | EPOLLOUT : EPOLLIN;
    event.data.ptr = &connection;
    epoll_ctl(epoll_, EPOLL_CTL_MOD, connection.fd, &event);
  }

  void send_on(Connection& connection) {
    const ssize_t sent = send(connection.fd, request_.data() + connection.sent,
                              request_.size() - connection.sent, MSG_NOSIGNAL);
    if (sent > 0) connection.sent += static_cast<std::size_t>(sent);
    if (sent < 0 && errno != EAGAIN && errno != ENOTCONN) {
      if (!asks_again(connection)) end(connection, false);
      return;
    }
    watch_output(connection, connection.sent < request_.size());
  }

  void receive_on(Connection& connection) {
    static char buffer[1 << 16];
    const ssize_t got = recv(connection.fd, buffer, sizeof buffer, 0);
    if (got < 0) {
      if (errno != EAGAIN && !asks_again(connection)) end(connection, false);
      return;
    }
    if (got == 0 && asks_again(connection)) return;
    if (got == 0) return end(connection, !options_.keep_alive && is_ok(connection));
    const std::size_t before = connection.received;
    connection.received += static_cast<std::size_t>(got);
    if (before < 4096) connection.headers.append(buffer, static_cast<std::size_t>(got));
    if (!options_.keep_alive) return;
    if (connection.expected == 0) connection.expected = full_size(connection.headers);
    if (connection.expected != 0 && connection.received >= connection.expected)
      end(connection, is_ok(connection));
  }

  static bool is_ok(const Connection& connection) {
    return connection.headers.size() > 12 && connection.headers.compare(9, 3, "200") == 0;
  }

  static std::size_t full_size(const std::string& headers) {
    const std::size_t end = headers.find("\r\n\r\n");
    if (end == std::string::npos) return 0;
    const char* length = strcasestr(headers.c_str(), "\r\ncontent-length:");
    return length == nullptr ? 0 : end + 4 + std::strtoul(length + 17, nullptr, 10);
  }

  void end(Connection& connection, bool ok) {
    --outstanding_;
    ok ? ++ok_ : ++failed_;
    const double now = now_s();
    const double elapsed = now - started_s_;
    const bool counted =
        options_.seconds == 0 || (elapsed > options_.seconds * 0.2 && elapsed <= options_.seconds);
    if (ok && counted) latencies_.push_back(now - connection.asked_at_s);
    if (!options_.keep_alive || !ok) {
      close(connection.fd);
      connection.fd = -1;
    }
    ask(connection);
  }

  void turn(int timeout_ms) {
    epoll_event events[256];
    const int count = epoll_wait(epoll_, events, 256, timeout_ms);
    for (int i = 0; i < count; ++i) {
      auto& connection = *static_cast<Connection*>(events[i].data.ptr);
      if (connection.fd >= 0 && (events[i].events & EPOLLOUT) != 0) send_on(connection);
      if (connection.fd >= 0 && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        receive_on(connection);
    }
  }

  const Options options_;
  const int epoll_;
  std::string request_;
  std::vector<Connection> connections_;
  std::vector<double> latencies_;
  long asked_ = 0;
  long outstanding_ = 0;
  long ok_ = 0;
  long failed_ = 0;
  double started_s_ = 0;
  double ended_s_ = 0;
};

Options parse(int argc, char** argv) {
  Options options;
  if (argc < 3) std::exit(2);
  options.port = std::atoi(argv[1]);
  options.path = argv[2];
  for (int i = 3; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--keep-alive") {
      options.keep_alive = true;
      continue;
    }
    const double value = i + 1 < argc ? std::atof(argv[++i]) : 0;
    if (name == "--connections") options.connections = static_cast<int>(value);
    else if (name == "--requests") options.requests = static_cast<long>(value);
    else if (name == "--seconds") options.seconds = value;
    else if (name == "--ramp-ms") options.ramp_s = value / 1e3;
    else if (name == "--timeout") options.timeout_s = value;
    else if (name == "--post") options.post = static_cast<std::size_t>(value);
    else std::exit(2);
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  allow_all_descriptors();
  Load load(parse(argc, argv));
  load.run();
  load.report();
}
