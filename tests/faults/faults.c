// LD_PRELOAD: what the kernel may answer but seldom does. Seeded; counts what it did.
//
// FAULTS_SEED     where the dice begin
// FAULTS_PERCENT  of the calls that get a fault
// FAULTS_COUNTS   a file of numbers (uint64): kKinds for whoever looks, and what the wall clock is to be off
// by, in seconds
//
// The engine calls libc through pointers it asked dlsym() for, so dlsym() is answered here, too. EINTR is
// for those alone: uWSGI's own reads and writes, which never block, do not know it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum Kind { kAgain, kInterrupted, kShort, kKinds, kNumbers = kKinds + 1 };

static uint64_t seed = 1;
static unsigned percent = 0;
static uint64_t none[kNumbers];
static volatile uint64_t* counts = none;
static void* (*real_dlsym)(void*, const char*);

static void count(enum Kind kind) { __atomic_fetch_add(&counts[kind], 1, __ATOMIC_RELAXED); }

static uint64_t dice(void) {
  static __thread uint64_t state = 0;
  static uint64_t threads = 0;
  if (state == 0)
    state = (seed + __atomic_fetch_add(&threads, 1, __ATOMIC_RELAXED)) * 0x9E3779B97F4A7C15u | 1;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state >> 11;
}

static int strikes(void) { return dice() % 100 < percent; }

static int never_waits(int fd, int flags) {
  const int saved = errno;
  const int status = fcntl(fd, F_GETFL);
  errno = saved;
  return (flags & MSG_DONTWAIT) != 0 || (status >= 0 && (status & O_NONBLOCK) != 0);
}

static int is_stream(int fd) {
  const int saved = errno;
  struct stat what;
  int type = 0;
  socklen_t size = sizeof type;
  const int is = fstat(fd, &what) == 0 &&
                 (S_ISFIFO(what.st_mode) ||
                  (S_ISSOCK(what.st_mode) && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
                   type == SOCK_STREAM));
  errno = saved;
  return is;
}

static int fails(enum Kind kind) {
  count(kind);
  errno = kind == kAgain ? EAGAIN : EINTR;
  return 1;
}

// True, with errno, when the call is to fail; else `size` may have become less.
static int faulty(int fd, size_t* size, int flags, int may_interrupt) {
  if (!strikes() || (size != NULL && !is_stream(fd))) return 0;
  const int instant = never_waits(fd, flags);
  switch (dice() % 3) {
    case 0: return instant ? fails(kAgain) : 0;
    case 1: return may_interrupt ? fails(kInterrupted) : 0;
    default:
      // Who waits for all gets all.
      if (size == NULL || *size < 2 || !instant || (flags & (MSG_WAITALL | MSG_PEEK)) != 0) return 0;
      *size = 1 + dice() % *size;
      count(kShort);
      return 0;
  }
}

#define REAL(name)                      \
  static __typeof__(name)* real = NULL; \
  if (real == NULL) real = (__typeof__(name)*)real_dlsym(RTLD_NEXT, #name)

static ssize_t recv_with(int fd, void* buffer, size_t size, int flags, int interrupt) {
  REAL(recv);
  return faulty(fd, &size, flags, interrupt) ? -1 : real(fd, buffer, size, flags);
}
ssize_t recv(int fd, void* buffer, size_t size, int flags) { return recv_with(fd, buffer, size, flags, 0); }
static ssize_t engine_recv(int fd, void* buffer, size_t size, int flags) {
  return recv_with(fd, buffer, size, flags, 1);
}

static ssize_t recvfrom_with(int fd, void* buffer, size_t size, int flags, struct sockaddr* from,
                             socklen_t* length, int interrupt) {
  REAL(recvfrom);
  return faulty(fd, &size, flags, interrupt) ? -1 : real(fd, buffer, size, flags, from, length);
}
ssize_t recvfrom(int fd, void* buffer, size_t size, int flags, struct sockaddr* from, socklen_t* length) {
  return recvfrom_with(fd, buffer, size, flags, from, length, 0);
}
static ssize_t engine_recvfrom(int fd, void* buffer, size_t size, int flags, struct sockaddr* from,
                               socklen_t* length) {
  return recvfrom_with(fd, buffer, size, flags, from, length, 1);
}

static ssize_t send_with(int fd, const void* buffer, size_t size, int flags, int interrupt) {
  REAL(send);
  return faulty(fd, &size, flags, interrupt) ? -1 : real(fd, buffer, size, flags);
}
ssize_t send(int fd, const void* buffer, size_t size, int flags) {
  return send_with(fd, buffer, size, flags, 0);
}
static ssize_t engine_send(int fd, const void* buffer, size_t size, int flags) {
  return send_with(fd, buffer, size, flags, 1);
}

static ssize_t sendto_with(int fd, const void* buffer, size_t size, int flags, const struct sockaddr* to,
                           socklen_t length, int interrupt) {
  REAL(sendto);
  return faulty(fd, &size, flags, interrupt) ? -1 : real(fd, buffer, size, flags, to, length);
}
ssize_t sendto(int fd, const void* buffer, size_t size, int flags, const struct sockaddr* to,
               socklen_t length) {
  return sendto_with(fd, buffer, size, flags, to, length, 0);
}
static ssize_t engine_sendto(int fd, const void* buffer, size_t size, int flags, const struct sockaddr* to,
                             socklen_t length) {
  return sendto_with(fd, buffer, size, flags, to, length, 1);
}

static ssize_t recvmsg_with(int fd, struct msghdr* message, int flags, int interrupt) {
  REAL(recvmsg);
  return faulty(fd, NULL, flags, interrupt) ? -1 : real(fd, message, flags);
}
ssize_t recvmsg(int fd, struct msghdr* message, int flags) { return recvmsg_with(fd, message, flags, 0); }
static ssize_t engine_recvmsg(int fd, struct msghdr* message, int flags) {
  return recvmsg_with(fd, message, flags, 1);
}

static ssize_t sendmsg_with(int fd, const struct msghdr* message, int flags, int interrupt) {
  REAL(sendmsg);
  return faulty(fd, NULL, flags, interrupt) ? -1 : real(fd, message, flags);
}
ssize_t sendmsg(int fd, const struct msghdr* message, int flags) {
  return sendmsg_with(fd, message, flags, 0);
}
static ssize_t engine_sendmsg(int fd, const struct msghdr* message, int flags) {
  return sendmsg_with(fd, message, flags, 1);
}

static ssize_t read_with(int fd, void* buffer, size_t size, int interrupt) {
  REAL(read);
  return faulty(fd, &size, 0, interrupt) ? -1 : real(fd, buffer, size);
}
ssize_t read(int fd, void* buffer, size_t size) { return read_with(fd, buffer, size, 0); }
static ssize_t engine_read(int fd, void* buffer, size_t size) { return read_with(fd, buffer, size, 1); }

static ssize_t write_with(int fd, const void* buffer, size_t size, int interrupt) {
  REAL(write);
  return faulty(fd, &size, 0, interrupt) ? -1 : real(fd, buffer, size);
}
ssize_t write(int fd, const void* buffer, size_t size) { return write_with(fd, buffer, size, 0); }
static ssize_t engine_write(int fd, const void* buffer, size_t size) {
  return write_with(fd, buffer, size, 1);
}

// The first part alone is short enough.
static ssize_t writev_with(int fd, const struct iovec* parts, int number, int interrupt) {
  REAL(writev);
  size_t all = number > 1 ? 2 : 0;
  if (faulty(fd, &all, 0, interrupt)) return -1;
  return real(fd, parts, number > 1 && all == 1 && parts[0].iov_len > 0 ? 1 : number);
}
ssize_t writev(int fd, const struct iovec* parts, int number) { return writev_with(fd, parts, number, 0); }
static ssize_t engine_writev(int fd, const struct iovec* parts, int number) {
  return writev_with(fd, parts, number, 1);
}

static int poll_with(struct pollfd* descriptors, nfds_t number, int timeout, int interrupt) {
  REAL(poll);
  if (interrupt && timeout != 0 && strikes()) return fails(kInterrupted), -1;
  return real(descriptors, number, timeout);
}
int poll(struct pollfd* descriptors, nfds_t number, int timeout) {
  return poll_with(descriptors, number, timeout, 0);
}
static int engine_poll(struct pollfd* descriptors, nfds_t number, int timeout) {
  return poll_with(descriptors, number, timeout, 1);
}

int accept4(int fd, struct sockaddr* address, socklen_t* length, int flags) {
  REAL(accept4);
  if (strikes() && never_waits(fd, 0)) return fails(kAgain), -1;  // As if another worker had been quicker.
  return real(fd, address, length, flags);
}

// --- The wall clock -----------------------------------------------------------------------------

int clock_gettime(clockid_t clock, struct timespec* now) {
  REAL(clock_gettime);
  const int result = real(clock, now);
  if (clock == CLOCK_REALTIME && result == 0) now->tv_sec += (time_t)counts[kKinds];
  return result;
}

int gettimeofday(struct timeval* now, void* zone) {
  REAL(gettimeofday);
  const int result = real(now, zone);
  now->tv_sec += (time_t)counts[kKinds];
  return result;
}

time_t time(time_t* given) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (given != NULL) *given = now.tv_sec;
  return now.tv_sec;
}

// What the engine gets when it asks libc.
static const struct {
  const char* name;
  void* function;
} for_engine[] = {
    {"recv", engine_recv},     {"recvfrom", engine_recvfrom}, {"send", engine_send},
    {"sendto", engine_sendto}, {"recvmsg", engine_recvmsg},   {"sendmsg", engine_sendmsg},
    {"read", engine_read},     {"write", engine_write},       {"writev", engine_writev},
    {"poll", engine_poll},     {"accept4", accept4},
};

static void find_dlsym(void) {
  if (real_dlsym == NULL)
    real_dlsym = (void* (*)(void*, const char*))dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
  if (real_dlsym == NULL)
    real_dlsym = (void* (*)(void*, const char*))dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
  if (real_dlsym == NULL)
    real_dlsym = (void* (*)(void*, const char*))dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.17");
}

// The last call is a jump, not a call: RTLD_NEXT goes by who asks.
void* dlsym(void* handle, const char* name) {
  if (real_dlsym == NULL) find_dlsym();
  if (handle != RTLD_NEXT) {
    for (size_t i = 0; i < sizeof for_engine / sizeof *for_engine; ++i) {
      if (strcmp(for_engine[i].name, name) == 0) return for_engine[i].function;
    }
  }
  return real_dlsym(handle, name);
}

__attribute__((constructor)) static void begin(void) {
  find_dlsym();
  const char* const path = getenv("FAULTS_COUNTS");
  const int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
  void* const shared =
      fd >= 0 ? mmap(NULL, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
  if (fd >= 0) close(fd);
  if (shared != MAP_FAILED) counts = shared;
  if (getenv("FAULTS_SEED") != NULL) seed = strtoull(getenv("FAULTS_SEED"), NULL, 10);
  if (getenv("FAULTS_PERCENT") != NULL) percent = (unsigned)atoi(getenv("FAULTS_PERCENT"));
  unsetenv("LD_PRELOAD");  // Programs that are started are not to suffer.
}
