// A client of echo servers: sends a message on each connection, and again once all of it has come back.
// echo PORT CONNECTIONS COUNT SIZE [datagrams]: prints how many came back a second.
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "load_program.h"

namespace {

int connect_to(int port, bool datagrams) {
  const int fd = socket(AF_INET, datagrams ? SOCK_DGRAM : SOCK_STREAM, 0);
  check(fd >= 0, "socket");
  const sockaddr_in address = loopback(port);
  check(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0, "connect");
  const int yes = 1;
  if (!datagrams) check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) == 0, "TCP_NODELAY");
  return fd;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  const int port = std::atoi(argv[1]), connections = std::atoi(argv[2]);
  const long count = std::atol(argv[3]);
  const std::string message(std::strtoul(argv[4], nullptr, 10), 'x');
  allow_all_descriptors();
  const int poll = epoll_create1(0);
  std::vector<std::size_t> missing;  // By descriptor: bytes to come back.
  for (int i = 0; i < connections; ++i) {
    const int fd = connect_to(port, argc > 5);
    if (missing.size() <= static_cast<std::size_t>(fd)) missing.resize(static_cast<std::size_t>(fd) + 1);
    epoll_event event{EPOLLIN, {}};
    event.data.fd = fd;
    check(epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
    missing[static_cast<std::size_t>(fd)] = message.size();
    check(write(fd, message.data(), message.size()) > 0, "write");
  }
  std::vector<epoll_event> events(static_cast<std::size_t>(connections));
  std::vector<char> got(message.size());
  const double began_s = now_s();
  for (long done = 0; done < count;) {
    const int ready = epoll_wait(poll, events.data(), connections, 30'000);
    check(ready > 0, "no echo");
    for (int i = 0; i < ready; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      std::size_t& left = missing[static_cast<std::size_t>(fd)];
      const ssize_t size = read(fd, got.data(), left);
      check(size > 0, "read");
      left -= static_cast<std::size_t>(size);
      if (left > 0) continue;
      ++done;
      left = message.size();
      check(write(fd, message.data(), message.size()) > 0, "write");
    }
  }
  std::printf("%.0f\n", static_cast<double>(count) / (now_s() - began_s));
}
