// Stands before libc, as torsocks and libfaketime do.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

// Connects to where a proxy's handshake leads, which it has with a socket that waits.
int connect(int fd, const struct sockaddr* address, socklen_t size) {
  int (*const next)(int, const struct sockaddr*, socklen_t) = dlsym(RTLD_NEXT, "connect");
  const struct sockaddr_in* const asked = (const struct sockaddr_in*)address;
  if (asked->sin_family != AF_INET || asked->sin_port != htons(1)) return next(fd, address, size);
  struct sockaddr_in proxy = *asked;
  proxy.sin_port = htons((unsigned short)atoi(getenv("PROXY_PORT")));
  if (next(fd, (const struct sockaddr*)&proxy, sizeof proxy) != 0) return -1;
  char greeting[6];
  return recv(fd, greeting, sizeof greeting, MSG_WAITALL) == sizeof greeting ? 0 : -1;
}

int getaddrinfo(const char* node, const char* service, const struct addrinfo* hints,
                struct addrinfo** result) {
  int (*const next)(const char*, const char*, const struct addrinfo*, struct addrinfo**) =
      dlsym(RTLD_NEXT, "getaddrinfo");
  return next(node != NULL && strcmp(node, "made.up") == 0 ? "127.0.0.1" : node, service, hints, result);
}

// A clock that runs a hundred times as fast.
int clock_nanosleep(clockid_t clock, int flags, const struct timespec* request, struct timespec* left) {
  int (*const next)(clockid_t, int, const struct timespec*, struct timespec*) =
      dlsym(RTLD_NEXT, "clock_nanosleep");
  struct timespec now, until = *request;
  if (flags == TIMER_ABSTIME) {
    clock_gettime(clock, &now);
    until.tv_sec = request->tv_sec - now.tv_sec;
    until.tv_nsec = request->tv_nsec - now.tv_nsec;
  }
  const long long nanoseconds = (until.tv_sec * 1000000000LL + until.tv_nsec) / 100;
  const struct timespec shorter = {nanoseconds / 1000000000LL, nanoseconds % 1000000000LL};
  return next(clock, 0, &shorter, left);
}
