#include "plugin/blocking/name_calls.h"

#include <arpa/inet.h>
#include <netdb.h>

#include <cerrno>

#include "plugin/blocking/offload.h"
#include "plugin/blocking/real.h"

namespace blocking {
namespace {

using suspend::Fiber;

Tally getaddrinfo_tally("getaddrinfo");
Tally getnameinfo_tally("getnameinfo");
Tally gethostbyname_tally("gethostbyname");

// An address in digits is answered without asking anybody.
bool is_numeric(const char* node) noexcept {
  unsigned char address[sizeof(in6_addr)];
  return node == nullptr || inet_pton(AF_INET, node, address) == 1 || inet_pton(AF_INET6, node, address) == 1;
}

int suspending_getaddrinfo(const char* node, const char* service, const addrinfo* hints,
                           addrinfo** result) noexcept {
  const auto look_up = [&] { return real::getaddrinfo(node, service, hints, result); };
  const bool numeric = is_numeric(node) || (hints != nullptr && (hints->ai_flags & AI_NUMERICHOST) != 0);
  Fiber* fiber = numeric ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(getaddrinfo_tally, look_up);
  return offload_work(*fiber, getaddrinfo_tally, look_up);
}

int suspending_getnameinfo(const sockaddr* address, socklen_t size, char* host, socklen_t host_size,
                           char* service, socklen_t service_size, int flags) noexcept {
  const auto look_up = [&] {
    return real::getnameinfo(address, size, host, host_size, service, service_size, flags);
  };
  Fiber* fiber = (flags & NI_NUMERICHOST) != 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(getnameinfo_tally, look_up);
  return offload_work(*fiber, getnameinfo_tally, look_up);
}

int suspending_gethostbyname_r(const char* name, hostent* entry, char* buffer, std::size_t size,
                               hostent** result, int* error) noexcept {
  const auto look_up = [&] { return real::gethostbyname_r(name, entry, buffer, size, result, error); };
  Fiber* fiber = is_numeric(name) ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(gethostbyname_tally, look_up);
  return offload_work(*fiber, gethostbyname_tally, look_up);
}

int suspending_gethostbyaddr_r(const void* address, socklen_t size, int type, hostent* entry, char* buffer,
                               std::size_t buffer_size, hostent** result, int* error) noexcept {
  const auto look_up = [&] {
    return real::gethostbyaddr_r(address, size, type, entry, buffer, buffer_size, result, error);
  };
  Fiber* fiber = may_suspend();
  if (fiber == nullptr) return natively(gethostbyname_tally, look_up);
  return offload_work(*fiber, gethostbyname_tally, look_up);
}

// Answers in memory that every caller in the process shares, so a helper thread can give it.
hostent* suspending_gethostbyname(const char* name) noexcept {
  const auto look_up = [&] { return real::gethostbyname(name); };
  Fiber* fiber = is_numeric(name) ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(gethostbyname_tally, look_up);
  return offload_work(*fiber, gethostbyname_tally, look_up);
}

hostent* suspending_gethostbyname2(const char* name, int family) noexcept {
  const auto look_up = [&] { return real::gethostbyname2(name, family); };
  Fiber* fiber = is_numeric(name) ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(gethostbyname_tally, look_up);
  return offload_work(*fiber, gethostbyname_tally, look_up);
}

int suspending_gethostbyname2_r(const char* name, int family, hostent* entry, char* buffer, std::size_t size,
                                hostent** result, int* error) noexcept {
  const auto look_up = [&] { return real::gethostbyname2_r(name, family, entry, buffer, size, result, error); };
  Fiber* fiber = is_numeric(name) ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(gethostbyname_tally, look_up);
  return offload_work(*fiber, gethostbyname_tally, look_up);
}

hostent* suspending_gethostbyaddr(const void* address, socklen_t size, int type) noexcept {
  const auto look_up = [&] { return real::gethostbyaddr(address, size, type); };
  Fiber* fiber = may_suspend();
  if (fiber == nullptr) return natively(gethostbyname_tally, look_up);
  return offload_work(*fiber, gethostbyname_tally, look_up);
}

}  // namespace

std::vector<Call> name_calls() {
  return {
      {"gethostbyname2", address_of(suspending_gethostbyname2)},
      {"gethostbyname2_r", address_of(suspending_gethostbyname2_r)},
      {"gethostbyaddr", address_of(suspending_gethostbyaddr)},
      {"getaddrinfo", address_of(suspending_getaddrinfo)},
      {"getnameinfo", address_of(suspending_getnameinfo)},
      {"gethostbyname", address_of(suspending_gethostbyname)},
      {"gethostbyname_r", address_of(suspending_gethostbyname_r)},
      {"gethostbyaddr_r", address_of(suspending_gethostbyaddr_r)},
  };
}

}  // namespace blocking
