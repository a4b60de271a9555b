// The rows of loop.py without any loop: only epoll_wait(), recv() and send().
// bare echo: prints the port that it listens on, and sends back what comes until its input ends.
// bare ping-pong COUNT: sends a byte to and fro over a socketpair; prints how often a second.
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "load_program.h"

namespace {

constexpr int kEventsMost = 1024;

void watch(int poll, int fd) {
  epoll_event event{EPOLLIN, {}};
  event.data.fd = fd;
  check(epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

int listen_anywhere() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  check(fd >= 0, "socket");
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  auto* const where = reinterpret_cast<sockaddr*>(&address);
  check(bind(fd, where, size) == 0 && listen(fd, 1024) == 0 && getsockname(fd, where, &size) == 0, "listen");
  std::printf("%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  return fd;
}

int accepted(int listener) {
  const int fd = accept(listener, nullptr, nullptr);
  const int yes = 1;
  check(fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) == 0, "accept");
  return fd;
}

// False at the end of the connection, whose other end does not read the last echoes.
bool send_back(int fd) {
  static char data[64 * 1024];
  const ssize_t got = recv(fd, data, sizeof data, MSG_DONTWAIT);
  return got > 0 && send(fd, data, static_cast<std::size_t>(got), MSG_DONTWAIT | MSG_NOSIGNAL) == got;
}

void serve() {
  const int listener = listen_anywhere(), poll = epoll_create1(0);
  watch(poll, STDIN_FILENO);
  watch(poll, listener);
  for (;;) {
    static epoll_event events[kEventsMost];
    const int ready = epoll_wait(poll, events, kEventsMost, -1);
    for (int i = 0; i < ready; ++i) {
      const int fd = events[i].data.fd;
      if (fd == STDIN_FILENO) return;
      if (fd == listener) watch(poll, accepted(listener));
      else if (!send_back(fd)) close(fd);
    }
  }
}

void ping_pong(long count) {
  int ends[2];
  check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
  const int poll = epoll_create1(0);
  for (const int end : ends) watch(poll, end);
  const double began_s = now_s();
  check(send(ends[0], "x", 1, MSG_DONTWAIT) == 1, "send");
  for (long left = count; left > 0;) {
    epoll_event event;
    check(epoll_wait(poll, &event, 1, -1) == 1, "epoll_wait");
    check(send_back(event.data.fd), "recv");
    if (event.data.fd == ends[0]) --left;
  }
  std::printf("%.0f\n", static_cast<double>(count) / (now_s() - began_s));
}

}  // namespace

int main(int count, char** arguments) {
  allow_all_descriptors();
  if (count == 2 && std::strcmp(arguments[1], "echo") == 0) return serve(), 0;
  if (count == 3 && std::strcmp(arguments[1], "ping-pong") == 0) return ping_pong(std::atol(arguments[2])), 0;
  return std::fprintf(stderr, "usage: bare echo | bare ping-pong COUNT\n"), 2;
}
