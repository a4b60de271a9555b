// The client of echo servers over TLS, as echo.cc: echo_tls PORT CONNECTIONS COUNT SIZE. Linked with -lssl.
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "load_program.h"

namespace {

// Has shaken hands, and does not block.
SSL* connect_to(SSL_CTX* context, int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const sockaddr_in address = loopback(port);
  check(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0, "connect");
  const int yes = 1;
  check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) == 0, "TCP_NODELAY");
  SSL* const connection = SSL_new(context);
  SSL_set_fd(connection, fd);
  check(SSL_connect(connection) == 1, "handshake");
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return connection;
}

struct Client {
  SSL* connection;
  std::size_t missing;  // Bytes to come back.
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  const int port = std::atoi(argv[1]), connections = std::atoi(argv[2]);
  const long count = std::atol(argv[3]);
  const std::string message(std::strtoul(argv[4], nullptr, 10), 'x');
  allow_all_descriptors();
  SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  const int poll = epoll_create1(0);
  const auto ask = [&](Client& client) {
    client.missing = message.size();
    check(SSL_write(client.connection, message.data(), static_cast<int>(message.size())) > 0, "write");
  };
  std::vector<Client> clients(static_cast<std::size_t>(connections));
  for (Client& client : clients) {
    client.connection = connect_to(context, port);
    epoll_event event{EPOLLIN, {}};
    event.data.ptr = &client;
    check(epoll_ctl(poll, EPOLL_CTL_ADD, SSL_get_fd(client.connection), &event) == 0, "epoll_ctl");
    ask(client);
  }
  std::vector<epoll_event> events(clients.size());
  std::vector<char> got(message.size());
  const double began_s = now_s();
  for (long done = 0; done < count;) {
    const int ready = epoll_wait(poll, events.data(), connections, 30'000);
    check(ready > 0, "no echo");
    for (int i = 0; i < ready; ++i) {
      Client& client = *static_cast<Client*>(events[static_cast<std::size_t>(i)].data.ptr);
      const int size = SSL_read(client.connection, got.data(), static_cast<int>(client.missing));
      if (size <= 0) {  // Session tickets, or a part of a record.
        check(SSL_get_error(client.connection, size) == SSL_ERROR_WANT_READ, "read");
        continue;
      }
      client.missing -= static_cast<std::size_t>(size);
      if (client.missing > 0) continue;
      ++done;
      ask(client);
    }
  }
  std::printf("%.0f\n", static_cast<double>(count) / (now_s() - began_s));
}
