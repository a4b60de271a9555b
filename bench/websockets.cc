// The load generator for websockets: one thread, one epoll.
//
//   websockets PORT PATH --connections C [--messages N] [--broadcast]
//
// Opens all connections, prints "open", and waits for a line. Then each connection sends its next message
// when the last has been echoed; with --broadcast the first connection alone sends, and its next when all
// have received it. Prints one JSON object when N messages have been received. Without --messages it ends
// with its input.
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

constexpr std::size_t kMessage = 32;
constexpr std::size_t kReceived = kMessage + 2;  // With the head of a frame without a mask.

struct Options {
  int port = 0;
  std::string path;
  std::size_t connections = 1;
  long messages = 0;
  bool broadcast = false;
};

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "websockets: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

// A text message of a client: masked, with a mask of zeros.
std::string message() {
  std::string frame = {'\x81', static_cast<char>(0x80 | kMessage), '\0', '\0', '\0', '\0'};
  return frame + std::string(kMessage, 'x');
}

class Load {
 public:
  explicit Load(const Options& options) : options_(options), epoll_(epoll_create1(0)), message_(message()) {}

  void open_all() {
    for (std::size_t index = 0; index < options_.connections; ++index) connections_.push_back({open(), 0, 0});
    for (Connection& connection : connections_) {
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.ptr = &connection;
      epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.fd, &event);
    }
    std::puts("open");
    std::fflush(stdout);
  }

  void run() {
    const double started_s = now_s();
    for (Connection& connection : connections_) {
      send_message(connection);
      if (options_.broadcast) break;
    }
    while (received_ < options_.messages) turn();
    const double seconds = now_s() - started_s;
    std::sort(latencies_.begin(), latencies_.end());
    std::printf(
        "{\"ok\": %ld, \"failed\": 0, \"seconds\": %.4f, \"rate\": %.2f, \"p50_ms\": %.3f, \"p99_ms\": "
        "%.3f}\n",
        received_, seconds, static_cast<double>(received_) / seconds, percentile_ms(latencies_, 0.5),
        percentile_ms(latencies_, 0.99));
  }

 private:
  struct Connection {
    int fd;
    std::size_t received;  // Of the message at hand.
    double sent_at_s;
  };

  // Connected, and its handshake done.
  int open() {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) fail("socket");
    const int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    const sockaddr_in server = loopback(options_.port);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&server), sizeof server) != 0) fail("connect");
    const std::string request =
        "GET " + options_.path +
        " HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) < 0) fail("send");
    std::string head;
    while (head.find("\r\n\r\n") == std::string::npos) {
      char byte;  // One at a time: a message may follow.
      if (recv(fd, &byte, 1, 0) != 1) fail("handshake");
      head += byte;
    }
    if (head.compare(9, 3, "101") != 0) fail("the server refuses websockets");
    return fd;
  }

  void send_message(Connection& connection) {
    connection.sent_at_s = now_s();
    if (send(connection.fd, message_.data(), message_.size(), MSG_NOSIGNAL) < 0) fail("send");
  }

  void received(Connection& connection) {
    ++received_;
    if (!options_.broadcast) {
      latencies_.push_back(now_s() - connection.sent_at_s);
      if (received_ < options_.messages) send_message(connection);
    } else if (received_ % static_cast<long>(connections_.size()) == 0) {
      latencies_.push_back(now_s() - connections_.front().sent_at_s);
      if (received_ < options_.messages) send_message(connections_.front());
    }
  }

  void turn() {
    epoll_event events[256];
    const int count = epoll_wait(epoll_, events, 256, 30'000);
    if (count == 0) fail("nothing comes");
    for (int i = 0; i < count; ++i) {
      auto& connection = *static_cast<Connection*>(events[i].data.ptr);
      char buffer[4096];
      const ssize_t got = recv(connection.fd, buffer, sizeof buffer, 0);
      if (got <= 0) fail("recv");
      connection.received += static_cast<std::size_t>(got);
      for (; connection.received >= kReceived; connection.received -= kReceived) received(connection);
    }
  }

  const Options options_;
  const int epoll_;
  const std::string message_;
  std::vector<Connection> connections_;
  std::vector<double> latencies_;
  long received_ = 0;
};

Options parse(int argc, char** argv) {
  Options options;
  if (argc < 3) std::exit(2);
  options.port = std::atoi(argv[1]);
  options.path = argv[2];
  for (int i = 3; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--broadcast") options.broadcast = true;
    else if (name == "--connections" && i + 1 < argc)
      options.connections = std::strtoul(argv[++i], nullptr, 10);
    else if (name == "--messages" && i + 1 < argc) options.messages = std::atol(argv[++i]);
    else std::exit(2);
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  allow_all_descriptors();
  const Options options = parse(argc, argv);
  Load load(options);
  load.open_all();
  const int told = std::getchar();
  if (options.messages > 0 && told != EOF) load.run();
}
