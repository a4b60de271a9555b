// upstream PORT SECONDS [BYTES]: an HTTP server that answers each request after that time with a body
// of so many bytes (5). Connections are kept.
#include <arpa/inet.h>
#include <ev.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

std::string answer;
double delay_s;

struct Connection {
  ev_io readable;
  ev_timer due;
  std::string got;
};

void close_connection(struct ev_loop* loop, Connection* connection) {
  ev_io_stop(loop, &connection->readable);
  ev_timer_stop(loop, &connection->due);
  close(connection->readable.fd);
  delete connection;
}

void reply(struct ev_loop* loop, Connection* connection) {
  if (send(connection->readable.fd, answer.data(), answer.size(), MSG_NOSIGNAL) < 0)
    close_connection(loop, connection);
}

void on_due(struct ev_loop* loop, ev_timer* timer, int) {
  reply(loop, static_cast<Connection*>(timer->data));
}

void on_readable(struct ev_loop* loop, ev_io* io, int) {
  auto* const connection = static_cast<Connection*>(io->data);
  char buffer[16384];
  const ssize_t size = recv(io->fd, buffer, sizeof buffer, 0);
  if (size <= 0) return close_connection(loop, connection);
  connection->got.append(buffer, static_cast<std::size_t>(size));
  if (connection->got.find("\r\n\r\n") == std::string::npos) return;
  connection->got.clear();
  if (delay_s <= 0) return reply(loop, connection);
  ev_now_update(loop);
  ev_timer_set(&connection->due, delay_s, 0);
  ev_timer_start(loop, &connection->due);
}

void on_acceptable(struct ev_loop* loop, ev_io* io, int) {
  const int fd = accept4(io->fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  const int yes = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  auto* const connection = new Connection();
  ev_io_init(&connection->readable, on_readable, fd, EV_READ);
  ev_timer_init(&connection->due, on_due, 0, 0);
  connection->readable.data = connection->due.data = connection;
  ev_io_start(loop, &connection->readable);
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) return std::fprintf(stderr, "usage: upstream PORT SECONDS [BYTES]\n"), 2;
  const std::string body(count > 3 ? std::strtoul(arguments[3], nullptr, 10) : 5, 'x');
  answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body;
  delay_s = std::strtod(arguments[2], nullptr);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<unsigned short>(std::atoi(arguments[1])));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 || listen(fd, 4096) < 0)
    return std::perror("upstream"), 1;
  struct ev_loop* const loop = ev_default_loop(0);
  ev_io acceptable;
  ev_io_init(&acceptable, on_acceptable, fd, EV_READ);
  ev_io_start(loop, &acceptable);
  ev_run(loop, 0);
}
