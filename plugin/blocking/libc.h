// The functions that libraries call if nothing is redirected: those of libc, or of a library that precedes it
// (LD_PRELOAD).
#pragma once

#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <grp.h>
#include <mqueue.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <resolv.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>

namespace blocking::libc {

// Looks `name` up as the loader does for a library. If CPython and the engine are linked into one program (an
// embedded build with a static libpython), the engine's own slots are redirected as well, and a replacement
// that used them would call itself.
void* find(const char* name) noexcept;

template <typename Function>
Function* find_as(const char* name) noexcept {
  return reinterpret_cast<Function*>(find(name));
}

// True if a library other than libc provides the function: torsocks connects in its own way, libfaketime has
// its own clock. Only calling it has the same effect.
bool is_interposed(void* function) noexcept;
template <typename Function>
bool is_interposed(Function* function) noexcept {
  return is_interposed(reinterpret_cast<void*>(function));
}

// The same for a function that this libc may be too old to have: null then.
void* find_if_any(const char* name) noexcept;

// The first of two spellings that exists, or null.
inline void* find_first_of(const char* name, const char* other) noexcept {
  void* const found = find_if_any(name);
  return found != nullptr ? found : find_if_any(other);
}

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
inline const auto inet_ntop = find_as<decltype(::inet_ntop)>("inet_ntop");
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
inline const auto pthread_mutex_timedlock =
    find_as<int(pthread_mutex_t*, const timespec*)>("pthread_mutex_timedlock");
inline const auto pthread_mutex_clocklock =
    find_as<int(pthread_mutex_t*, clockid_t, const timespec*)>("pthread_mutex_clocklock");
inline const auto pthread_cond_wait = find_as<int(pthread_cond_t*, pthread_mutex_t*)>("pthread_cond_wait");
inline const auto pthread_cond_clockwait =
    find_as<int(pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*)>("pthread_cond_clockwait");
inline const auto pthread_cond_signal = find_as<int(pthread_cond_t*)>("pthread_cond_signal");
inline const auto pthread_cond_broadcast = find_as<int(pthread_cond_t*)>("pthread_cond_broadcast");
inline const auto pthread_rwlock_rdlock = find_as<int(pthread_rwlock_t*)>("pthread_rwlock_rdlock");
inline const auto pthread_rwlock_wrlock = find_as<int(pthread_rwlock_t*)>("pthread_rwlock_wrlock");
inline const auto pthread_rwlock_tryrdlock = find_as<int(pthread_rwlock_t*)>("pthread_rwlock_tryrdlock");
inline const auto pthread_rwlock_trywrlock = find_as<int(pthread_rwlock_t*)>("pthread_rwlock_trywrlock");
inline const auto pthread_rwlock_unlock = find_as<int(pthread_rwlock_t*)>("pthread_rwlock_unlock");
inline const auto pthread_rwlock_timedrdlock =
    find_as<int(pthread_rwlock_t*, const timespec*)>("pthread_rwlock_timedrdlock");
inline const auto pthread_rwlock_timedwrlock =
    find_as<int(pthread_rwlock_t*, const timespec*)>("pthread_rwlock_timedwrlock");
inline const auto pthread_rwlock_clockrdlock =
    find_as<int(pthread_rwlock_t*, clockid_t, const timespec*)>("pthread_rwlock_clockrdlock");
inline const auto pthread_rwlock_clockwrlock =
    find_as<int(pthread_rwlock_t*, clockid_t, const timespec*)>("pthread_rwlock_clockwrlock");
inline const auto pthread_barrier_wait = find_as<int(pthread_barrier_t*)>("pthread_barrier_wait");
inline const auto pthread_join = find_as<int(pthread_t, void**)>("pthread_join");
inline const auto pthread_tryjoin_np = find_as<int(pthread_t, void**)>("pthread_tryjoin_np");
inline const auto pthread_once = find_as<int(pthread_once_t*, void (*)())>("pthread_once");
inline const auto syscall = find_as<long(long, ...)>("syscall");
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
inline const auto pthread_sigqueue = find_as<int(pthread_t, int, sigval)>("pthread_sigqueue");
inline const auto pthread_getattr_np = find_as<int(pthread_t, pthread_attr_t*)>("pthread_getattr_np");
inline const auto pthread_getaffinity_np =
    find_as<int(pthread_t, std::size_t, cpu_set_t*)>("pthread_getaffinity_np");
inline const auto pthread_setaffinity_np =
    find_as<int(pthread_t, std::size_t, const cpu_set_t*)>("pthread_setaffinity_np");
inline const auto pthread_getschedparam =
    find_as<int(pthread_t, int*, sched_param*)>("pthread_getschedparam");
inline const auto pthread_setschedparam =
    find_as<int(pthread_t, int, const sched_param*)>("pthread_setschedparam");
inline const auto pthread_setschedprio = find_as<int(pthread_t, int)>("pthread_setschedprio");
inline const auto pthread_getcpuclockid = find_as<int(pthread_t, clockid_t*)>("pthread_getcpuclockid");
inline const auto setuid = find_as<int(uid_t)>("setuid");
inline const auto setgid = find_as<int(gid_t)>("setgid");
inline const auto seteuid = find_as<int(uid_t)>("seteuid");
inline const auto setegid = find_as<int(gid_t)>("setegid");
inline const auto setreuid = find_as<int(uid_t, uid_t)>("setreuid");
inline const auto setregid = find_as<int(gid_t, gid_t)>("setregid");
inline const auto setresuid = find_as<int(uid_t, uid_t, uid_t)>("setresuid");
inline const auto setresgid = find_as<int(gid_t, gid_t, gid_t)>("setresgid");
inline const auto setgroups = find_as<int(std::size_t, const gid_t*)>("setgroups");
inline const auto initgroups = find_as<int(const char*, gid_t)>("initgroups");
inline const auto sigaction = find_as<int(int, const struct ::sigaction*, struct ::sigaction*)>("sigaction");
inline const auto pthread_sigmask = find_as<int(int, const sigset_t*, sigset_t*)>("pthread_sigmask");
inline const auto sigprocmask = find_as<int(int, const sigset_t*, sigset_t*)>("sigprocmask");
inline const auto dlopen = find_as<decltype(::dlopen)>("dlopen");

inline const auto open = find_as<int(const char*, int, ...)>("open");
inline const auto open64 = find_as<int(const char*, int, ...)>("open64");
inline const auto openat = find_as<int(int, const char*, int, ...)>("openat");
inline const auto openat64 = find_as<int(int, const char*, int, ...)>("openat64");
inline const auto open_2 = find_as<int(const char*, int)>("__open_2");
inline const auto openat_2 = find_as<int(int, const char*, int)>("__openat_2");
inline const auto creat = find_as<decltype(::creat)>("creat");
inline const auto fopen = find_as<FILE*(const char*, const char*)>("fopen");
inline const auto fopen64 = find_as<FILE*(const char*, const char*)>("fopen64");
inline const auto freopen = find_as<FILE*(const char*, const char*, FILE*)>("freopen");
inline const auto freopen64 = find_as<FILE*(const char*, const char*, FILE*)>("freopen64");
inline const auto semtimedop = find_as<int(int, sembuf*, std::size_t, const timespec*)>("semtimedop");
inline const auto msgrcv = find_as<ssize_t(int, void*, std::size_t, long, int)>("msgrcv");
inline const auto msgsnd = find_as<int(int, const void*, std::size_t, int)>("msgsnd");
inline const auto mq_receive = find_as<ssize_t(mqd_t, char*, std::size_t, unsigned int*)>("mq_receive");
inline const auto mq_timedreceive =
    find_as<ssize_t(mqd_t, char*, std::size_t, unsigned int*, const timespec*)>("mq_timedreceive");
inline const auto mq_send = find_as<int(mqd_t, const char*, std::size_t, unsigned int)>("mq_send");
inline const auto mq_timedsend =
    find_as<int(mqd_t, const char*, std::size_t, unsigned int, const timespec*)>("mq_timedsend");
inline const auto splice = find_as<decltype(::splice)>("splice");
inline const auto tee = find_as<decltype(::tee)>("tee");
inline const auto vmsplice = find_as<decltype(::vmsplice)>("vmsplice");
inline const auto sigwait = find_as<int(const sigset_t*, int*)>("sigwait");
inline const auto sigtimedwait = find_as<int(const sigset_t*, siginfo_t*, const timespec*)>("sigtimedwait");
inline const auto pause = find_as<int()>("pause");
inline const auto recvmmsg = find_as<int(int, mmsghdr*, unsigned int, int, timespec*)>("recvmmsg");
inline const auto sendmmsg = find_as<int(int, mmsghdr*, unsigned int, int)>("sendmmsg");
inline const auto preadv2 = find_as<ssize_t(int, const iovec*, int, off64_t, int)>("preadv64v2");
inline const auto pwritev2 = find_as<ssize_t(int, const iovec*, int, off64_t, int)>("pwritev64v2");
inline const auto recv_chk = find_as<ssize_t(int, void*, std::size_t, std::size_t, int)>("__recv_chk");
inline const auto recvfrom_chk =
    find_as<ssize_t(int, void*, std::size_t, std::size_t, int, sockaddr*, socklen_t*)>("__recvfrom_chk");
inline const auto read_chk = find_as<ssize_t(int, void*, std::size_t, std::size_t)>("__read_chk");
inline const auto poll_chk = find_as<int(pollfd*, nfds_t, int, std::size_t)>("__poll_chk");
inline const auto ppoll_chk =
    find_as<int(pollfd*, nfds_t, const timespec*, const sigset_t*, std::size_t)>("__ppoll_chk");
inline const auto epoll_pwait2 =
    reinterpret_cast<int (*)(int, epoll_event*, int, const timespec*, const sigset_t*)>(
        find_if_any("epoll_pwait2"));
inline const auto system = find_as<int(const char*)>("system");
inline const auto pclose = find_as<int(FILE*)>("pclose");
inline const auto sync = find_as<void()>("sync");
inline const auto syncfs = find_as<int(int)>("syncfs");
inline const auto msync = find_as<int(void*, std::size_t, int)>("msync");
inline const auto tcdrain = find_as<int(int)>("tcdrain");
inline const auto gethostbyname2 = find_as<hostent*(const char*, int)>("gethostbyname2");
inline const auto gethostbyname2_r =
    find_as<int(const char*, int, hostent*, char*, std::size_t, hostent**, int*)>("gethostbyname2_r");
inline const auto gethostbyaddr = find_as<hostent*(const void*, socklen_t, int)>("gethostbyaddr");
inline const auto res_query = reinterpret_cast<int (*)(const char*, int, int, unsigned char*, int)>(
    find_first_of("res_query", "__res_query"));
inline const auto res_search = reinterpret_cast<int (*)(const char*, int, int, unsigned char*, int)>(
    find_first_of("res_search", "__res_search"));
inline const auto res_nquery =
    reinterpret_cast<int (*)(res_state, const char*, int, int, unsigned char*, int)>(
        find_first_of("res_nquery", "__res_nquery"));
inline const auto res_nsearch =
    reinterpret_cast<int (*)(res_state, const char*, int, int, unsigned char*, int)>(
        find_first_of("res_nsearch", "__res_nsearch"));

}  // namespace blocking::libc
