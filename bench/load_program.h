// What the load generators have in common.
#pragma once

#include <netinet/in.h>
#include <sys/resource.h>

#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

// Ends the program with the error of the call that failed.
inline void check(bool good, const char* what) {
  if (good) return;
  std::perror(what);
  std::exit(1);
}

inline double now_s() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

inline void allow_all_descriptors() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

inline sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// The least latency, in ms, that this share of the requests does not exceed: of few requests, p99 is the
// most. 0 for none. `latencies_s` is sorted.
inline double percentile_ms(const std::vector<double>& latencies_s, double share) {
  if (latencies_s.empty()) return 0;
  const auto count = static_cast<double>(latencies_s.size());
  return latencies_s[static_cast<std::size_t>(std::ceil(share * count)) - 1] * 1e3;
}
