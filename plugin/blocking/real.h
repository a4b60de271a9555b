// The functions that libraries reach where nothing is redirected: libc's own, or those of a library
// that stands before it (LD_PRELOAD).
#pragma once

#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace blocking::real {

// Looks `name` up as the loader does for any library. Where CPython and the engine are linked into one
// program (an embedded build with a static libpython), the slots the engine calls through are
// redirected too, and a replacement that used them would call itself.
void* find(const char* name) noexcept;

template <typename Function>
Function* find_as(const char* name) noexcept {
  return reinterpret_cast<Function*>(find(name));
}

// True where another library than libc has the function: torsocks connects in its own way, libfaketime
// has a clock of its own. What such a function does can only be had by calling it.
bool is_interposed(void* function) noexcept;
template <typename Function>
bool is_interposed(Function* function) noexcept {
  return is_interposed(reinterpret_cast<void*>(function));
}

// The same for what this libc may be too old to have: null then.
void* find_if_any(const char* name) noexcept;

inline const auto poll = find_as<decltype(::poll)>("poll");
inline const auto ppoll = find_as<decltype(::ppoll)>("ppoll");
inline const auto select = find_as<decltype(::select)>("select");
inline const auto pselect = find_as<decltype(::pselect)>("pselect");
inline const auto epoll_wait = find_as<decltype(::epoll_wait)>("epoll_wait");
inline const auto epoll_pwait = find_as<decltype(::epoll_pwait)>("epoll_pwait");
inline const auto recv = find_as<decltype(::recv)>("recv");
inline const auto recvfrom = find_as<decltype(::recvfrom)>("recvfrom");
inline const auto recvmsg = find_as<decltype(::recvmsg)>("recvmsg");
inline const auto send = find_as<decltype(::send)>("send");
inline const auto sendto = find_as<decltype(::sendto)>("sendto");
inline const auto sendmsg = find_as<decltype(::sendmsg)>("sendmsg");
inline const auto sendfile64 = find_as<decltype(::sendfile64)>("sendfile64");
inline const auto read = find_as<decltype(::read)>("read");
inline const auto readv = find_as<decltype(::readv)>("readv");
inline const auto write = find_as<decltype(::write)>("write");
inline const auto writev = find_as<decltype(::writev)>("writev");
inline const auto connect = find_as<decltype(::connect)>("connect");
inline const auto accept4 = find_as<decltype(::accept4)>("accept4");
inline const auto close = find_as<decltype(::close)>("close");
inline const auto dup2 = find_as<decltype(::dup2)>("dup2");
inline const auto close_range =
    reinterpret_cast<int (*)(unsigned int, unsigned int, int)>(find_if_any("close_range"));
inline const auto dup3 = find_as<decltype(::dup3)>("dup3");
inline const auto fcntl = find_as<decltype(::fcntl)>("fcntl");
inline const auto flock = find_as<decltype(::flock)>("flock");
inline const auto lockf = find_as<decltype(::lockf)>("lockf");
inline const auto fsync = find_as<decltype(::fsync)>("fsync");
inline const auto fdatasync = find_as<decltype(::fdatasync)>("fdatasync");
inline const auto nanosleep = find_as<decltype(::nanosleep)>("nanosleep");
inline const auto clock_nanosleep = find_as<decltype(::clock_nanosleep)>("clock_nanosleep");
inline const auto usleep = find_as<decltype(::usleep)>("usleep");
inline const auto sleep = find_as<decltype(::sleep)>("sleep");
inline const auto sem_wait = find_as<decltype(::sem_wait)>("sem_wait");
inline const auto sem_clockwait = find_as<decltype(::sem_clockwait)>("sem_clockwait");
inline const auto sem_post = find_as<decltype(::sem_post)>("sem_post");
inline const auto pthread_mutex_lock = find_as<int(pthread_mutex_t*)>("pthread_mutex_lock");
inline const auto pthread_mutex_trylock = find_as<int(pthread_mutex_t*)>("pthread_mutex_trylock");
inline const auto pthread_cond_timedwait =
    find_as<int(pthread_cond_t*, pthread_mutex_t*, const timespec*)>("pthread_cond_timedwait");
inline const auto pthread_mutex_unlock = find_as<int(pthread_mutex_t*)>("pthread_mutex_unlock");
inline const auto getaddrinfo = find_as<decltype(::getaddrinfo)>("getaddrinfo");
inline const auto getnameinfo = find_as<decltype(::getnameinfo)>("getnameinfo");
inline const auto gethostbyname = find_as<decltype(::gethostbyname)>("gethostbyname");
inline const auto gethostbyname_r = find_as<decltype(::gethostbyname_r)>("gethostbyname_r");
inline const auto gethostbyaddr_r = find_as<decltype(::gethostbyaddr_r)>("gethostbyaddr_r");
inline const auto waitpid = find_as<decltype(::waitpid)>("waitpid");
inline const auto wait4 = find_as<decltype(::wait4)>("wait4");
inline const auto waitid = find_as<decltype(::waitid)>("waitid");
inline const auto pthread_self = find_as<decltype(::pthread_self)>("pthread_self");
inline const auto pthread_kill = find_as<int(pthread_t, int)>("pthread_kill");
inline const auto pthread_getcpuclockid = find_as<int(pthread_t, clockid_t*)>("pthread_getcpuclockid");
inline const auto sigaction =
    find_as<int(int, const struct ::sigaction*, struct ::sigaction*)>("sigaction");
inline const auto dlopen = find_as<decltype(::dlopen)>("dlopen");

}  // namespace blocking::real
