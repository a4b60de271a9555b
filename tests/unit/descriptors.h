// Descriptors for tests: owned, closed by the real close().
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

namespace unit {

class Fd {
 public:
  explicit Fd(int fd = -1) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { close(); }

  int get() const noexcept { return fd_; }
  // What the test itself closed in another way.
  int release() noexcept { return std::exchange(fd_, -1); }
  void close() noexcept {
    if (fd_ >= 0) ::close(release());
  }

 private:
  int fd_;
};

struct Pair {
  Fd a, b;
};

inline Pair socket_pair(int type = SOCK_STREAM) {
  int ends[2];
  EXPECT_EQ(0, socketpair(AF_UNIX, type, 0, ends));
  return {Fd(ends[0]), Fd(ends[1])};
}

// `a` is read, `b` is written.
inline Pair make_pipe() {
  int ends[2];
  EXPECT_EQ(0, pipe(ends));
  return {Fd(ends[0]), Fd(ends[1])};
}

inline sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<in_port_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// A TCP socket on a free loopback port, and its address.
struct Listener {
  Fd fd;
  sockaddr_in address;
  const sockaddr* where() const { return reinterpret_cast<const sockaddr*>(&address); }
};

inline Listener bound_tcp() {
  Listener bound{Fd(socket(AF_INET, SOCK_STREAM, 0)), loopback(0)};
  socklen_t size = sizeof bound.address;
  EXPECT_EQ(0, bind(bound.fd.get(), bound.where(), size));
  EXPECT_EQ(0, getsockname(bound.fd.get(), reinterpret_cast<sockaddr*>(&bound.address), &size));
  return bound;
}

inline Listener listen_tcp(int backlog = 16) {
  Listener listener = bound_tcp();
  EXPECT_EQ(0, listen(listener.fd.get(), backlog));
  return listener;
}

inline Pair tcp_pair() {
  Listener listener = listen_tcp();
  Fd client(socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(0, connect(client.get(), listener.where(), sizeof listener.address));
  return {std::move(client), Fd(accept(listener.fd.get(), nullptr, nullptr))};
}

// A name of its own in Linux's abstract namespace; no file stays behind.
struct UnixAddress {
  sockaddr_un address{};
  socklen_t size;
  explicit UnixAddress(const std::string& name) {
    const std::string unique = name + std::to_string(getpid());
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, unique.data(), unique.size());
    size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + unique.size());
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

inline void make_nonblocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

inline void set_timeout(int fd, int option, long microseconds) {
  const timeval limit{microseconds / 1000000, microseconds % 1000000};
  EXPECT_EQ(0, setsockopt(fd, SOL_SOCKET, option, &limit, sizeof limit));
}

inline bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

// Fills what the kernel keeps between two ends, so that the next send would block.
inline std::size_t fill(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  make_nonblocking(fd);
  const std::vector<char> bytes(65536, 'f');
  std::size_t total = 0;
  for (std::size_t size = bytes.size(); size > 0; size /= 2) {
    ssize_t wrote;
    while ((wrote = write(fd, bytes.data(), size)) > 0) total += static_cast<std::size_t>(wrote);
  }
  fcntl(fd, F_SETFL, flags);
  return total;
}

inline std::size_t open_descriptors() {
  const std::filesystem::directory_iterator open("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(open), end(open)));
}

}  // namespace unit
