#include "plugin/engine/worker_loads.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstddef>
#include <new>

#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {
namespace {

constexpr int kAway = INT_MAX;

// On a cache line of its own: each is written at every request, by its worker only.
struct alignas(64) Load {
  std::atomic<int> cores_taken{kAway};
  std::atomic<bool> overloaded{false};
};

Load* loads = nullptr;  // By worker id, from 1. Null when workers need not know of each other.

}  // namespace

bool WorkerLoads::prepare() noexcept {
  if (uwsgi.numproc < 2 || uwsgi.map_socket != nullptr) return true;
  const std::size_t count = static_cast<std::size_t>(uwsgi.numproc) + 1;
  void* const shared =
      mmap(nullptr, count * sizeof(Load), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return false;
  loads = new (shared) Load[count];
  return true;
}

WorkerLoads::WorkerLoads() noexcept {
  publish(0);
  publish_overloaded(false);
}

void WorkerLoads::publish(int cores_taken) noexcept {
  taken_ = cores_taken;
  if (loads != nullptr) loads[uwsgi.mywid].cores_taken.store(cores_taken, std::memory_order_relaxed);
}

void WorkerLoads::leave() noexcept {
  if (loads != nullptr) loads[uwsgi.mywid].cores_taken.store(kAway, std::memory_order_relaxed);
}

int WorkerLoads::least_of_others() const noexcept {
  int least = kAway;
  for (int id = 1; loads != nullptr && id <= uwsgi.numproc; ++id) {
    if (id != uwsgi.mywid) least = std::min(least, loads[id].cores_taken.load(std::memory_order_relaxed));
  }
  return least;
}

void WorkerLoads::publish_overloaded(bool overloaded) noexcept {
  if (loads != nullptr) loads[uwsgi.mywid].overloaded.store(overloaded, std::memory_order_relaxed);
}

bool WorkerLoads::others_overloaded() const noexcept {
  for (int id = 1; loads != nullptr && id <= uwsgi.numproc; ++id) {
    const Load& other = loads[id];
    const bool away = other.cores_taken.load(std::memory_order_relaxed) == kAway;
    if (id != uwsgi.mywid && !away && !other.overloaded.load(std::memory_order_relaxed)) return false;
  }
  return true;
}

// A little more is no reason to wait for others.
bool WorkerLoads::above_share() const noexcept {
  const int least = least_of_others();
  return least < uwsgi.async && taken_ > least + least / 8 + 1;
}

}  // namespace engine
