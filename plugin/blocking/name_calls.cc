
#include <arpa/inet.h>
#include <netdb.h>

#include <cerrno>

#include "plugin/blocking/groups.h"
#include "plugin/blocking/libc.h"
#include "plugin/blocking/offload.h"
#include "plugin/blocking/tally.h"

namespace blocking {
namespace {

using suspend::Fiber;

Tally getaddrinfo_tally("getaddrinfo");
Tally getnameinfo_tally("getnameinfo");
Tally gethostbyname_tally("gethostbyname");
Tally res_query_tally("res_query");

// An address in digits is answered without asking anybody.
bool is_numeric(const char* node) noexcept {
  unsigned char address[sizeof(in6_addr)];
  return node == nullptr || inet_pton(AF_INET, node, address) == 1 || inet_pton(AF_INET6, node, address) == 1;
}

int suspending_getaddrinfo(const char* node, const char* service, const addrinfo* hints,
                           addrinfo** result) noexcept {
  const auto look_up = [&] { return libc::getaddrinfo(node, service, hints, result); };
  const bool numeric = is_numeric(node) || (hints != nullptr && (hints->ai_flags & AI_NUMERICHOST) != 0);
  Fiber* fiber = numeric ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(getaddrinfo_tally, look_up);
  return offload_work(*fiber, getaddrinfo_tally, look_up);
}

int suspending_getnameinfo(const sockaddr* address, socklen_t size, char* host, socklen_t host_size,
                           char* service, socklen_t service_size, int flags) noexcept {
  const auto look_up = [&] {
    return libc::getnameinfo(address, size, host, host_size, service, service_size, flags);
  };
  Fiber* fiber = (flags & NI_NUMERICHOST) != 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(getnameinfo_tally, look_up);
  return offload_work(*fiber, getnameinfo_tally, look_up);
}

int suspending_gethostbyname_r(const char* name, hostent* entry, char* buffer, std::size_t size,
                               hostent** result, int* error) noexcept {
  const auto look_up = [&] { return libc::gethostbyname_r(name, entry, buffer, size, result, error); };
  Fiber* fiber = is_numeric(name) ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(gethostbyname_tally, look_up);
  return offload_work(*fiber, gethostbyname_tally, look_up);
}

int suspending_gethostbyaddr_r(const void* address, socklen_t size, int type, hostent* entry, char* buffer,
                               std::size_t buffer_size, hostent** result, int* error) noexcept {
  const auto look_up = [&] {
    return libc::gethostbyaddr_r(address, size, type, entry, buffer, buffer_size, result, error);
  };
  Fiber* fiber = may_suspend();
  if (fiber == nullptr) return natively(gethostbyname_tally, look_up);
  return offload_work(*fiber, gethostbyname_tally, look_up);
}

// Answers in memory that every caller in the process shares, so a helper thread can give it.
hostent* suspending_gethostbyname(const char* name) noexcept {
  const auto look_up = [&] { return libc::gethostbyname(name); };
  Fiber* fiber = is_numeric(name) ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(gethostbyname_tally, look_up);
  return offload_work(*fiber, gethostbyname_tally, look_up);
}

hostent* suspending_gethostbyname2(const char* name, int family) noexcept {
  const auto look_up = [&] { return libc::gethostbyname2(name, family); };
  Fiber* fiber = is_numeric(name) ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(gethostbyname_tally, look_up);
  return offload_work(*fiber, gethostbyname_tally, look_up);
}

int suspending_gethostbyname2_r(const char* name, int family, hostent* entry, char* buffer, std::size_t size,
                                hostent** result, int* error) noexcept {
  const auto look_up = [&] {
    return libc::gethostbyname2_r(name, family, entry, buffer, size, result, error);
  };
  Fiber* fiber = is_numeric(name) ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(gethostbyname_tally, look_up);
  return offload_work(*fiber, gethostbyname_tally, look_up);
}

hostent* suspending_gethostbyaddr(const void* address, socklen_t size, int type) noexcept {
  const auto look_up = [&] { return libc::gethostbyaddr(address, size, type); };
  Fiber* fiber = may_suspend();
  if (fiber == nullptr) return natively(gethostbyname_tally, look_up);
  return offload_work(*fiber, gethostbyname_tally, look_up);
}

// The answer of a name server as it came. The thread that asks has the state of the resolver, unless it is
// named.
template <typename... Arguments>
int look_up_elsewhere(int (*look_up)(Arguments...), Arguments... arguments) noexcept {
  const auto call = [&] { return look_up(arguments...); };
  Fiber* fiber = may_suspend();
  if (fiber == nullptr) return natively(res_query_tally, call);
  return offload_work(*fiber, res_query_tally, call);
}

int suspending_res_query(const char* name, int family, int type, unsigned char* answer, int size) noexcept {
  return look_up_elsewhere(libc::res_query, name, family, type, answer, size);
}

int suspending_res_search(const char* name, int family, int type, unsigned char* answer, int size) noexcept {
  return look_up_elsewhere(libc::res_search, name, family, type, answer, size);
}

int suspending_res_nquery(res_state state, const char* name, int family, int type, unsigned char* answer,
                          int size) noexcept {
  return look_up_elsewhere(libc::res_nquery, state, name, family, type, answer, size);
}

int suspending_res_nsearch(res_state state, const char* name, int family, int type, unsigned char* answer,
                           int size) noexcept {
  return look_up_elsewhere(libc::res_nsearch, state, name, family, type, answer, size);
}

// Before glibc 2.34 they were in libresolv, which need not be there, under these names.
template <typename Function>
void add_if_there(std::vector<Call>& calls, const Call& plain, const Call& underlined, Function* real_call) {
  if (real_call == nullptr) return;
  calls.push_back(plain);
  calls.push_back(underlined);
}

}  // namespace

std::vector<Call> resolver_calls() {
  std::vector<Call> calls;
  add_if_there(calls, {"res_query", address_of(suspending_res_query)},
               {"__res_query", address_of(suspending_res_query)}, libc::res_query);
  add_if_there(calls, {"res_search", address_of(suspending_res_search)},
               {"__res_search", address_of(suspending_res_search)}, libc::res_search);
  add_if_there(calls, {"res_nquery", address_of(suspending_res_nquery)},
               {"__res_nquery", address_of(suspending_res_nquery)}, libc::res_nquery);
  add_if_there(calls, {"res_nsearch", address_of(suspending_res_nsearch)},
               {"__res_nsearch", address_of(suspending_res_nsearch)}, libc::res_nsearch);
  return calls;
}

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
