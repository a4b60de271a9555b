#include "plugin/blocking/identity.h"

#include <cassert>
#include <csignal>
#include <mutex>
#include <unordered_set>

#include "plugin/blocking/real.h"

namespace blocking {
namespace {

thread_local const suspend::Fiber* borrowed = nullptr;
thread_local bool loop_thread_shown = false;

// The idents of fibers, which to libc are no threads at all: it would read what lies there.
struct KnownIdents {
  std::mutex mutex;
  std::unordered_set<pthread_t> idents;
  pthread_t loop_thread = 0;
};

KnownIdents& known() noexcept {
  static KnownIdents* const forever = new KnownIdents;  // Other threads ask until the process ends.
  return *forever;
}

pthread_t own_pthread_self() noexcept {
  if (borrowed != nullptr) return identity_of(*borrowed);
  const suspend::Fiber* fiber = suspend::Fiber::current();
  return fiber == nullptr || loop_thread_shown ? real::pthread_self() : identity_of(*fiber);
}

// The OS thread that an ident of Python's stands for: signal.pthread_kill() of a request's
// ident means the thread that requests run on.
pthread_t os_thread_of(pthread_t ident) noexcept {
  const std::lock_guard<std::mutex> lock(known().mutex);
  return known().idents.count(ident) == 0 ? ident : known().loop_thread;
}

int own_pthread_kill(pthread_t ident, int signal_number) noexcept {
  return real::pthread_kill(os_thread_of(ident), signal_number);
}

int own_pthread_getcpuclockid(pthread_t ident, clockid_t* clock) noexcept {
  return real::pthread_getcpuclockid(os_thread_of(ident), clock);
}

}  // namespace

Identity::Identity(const suspend::Fiber& fiber) : ident_(identity_of(fiber)) {
  const std::lock_guard<std::mutex> lock(known().mutex);
  known().loop_thread = real::pthread_self();
  known().idents.insert(ident_);
}

Identity::~Identity() {
  const std::lock_guard<std::mutex> lock(known().mutex);
  known().idents.erase(ident_);
}

BorrowedIdentity::BorrowedIdentity(const suspend::Fiber& fiber) noexcept {
  assert(borrowed == nullptr);
  borrowed = &fiber;
}

BorrowedIdentity::~BorrowedIdentity() { borrowed = nullptr; }

void show_loop_thread(bool shown) noexcept { loop_thread_shown = shown; }

std::vector<Call> identity_calls() {
  return {
      {"pthread_self", address_of(own_pthread_self), Scope::kLibpythonOnly},
      {"pthread_kill", address_of(own_pthread_kill), Scope::kLibpythonOnly},
      {"pthread_getcpuclockid", address_of(own_pthread_getcpuclockid), Scope::kLibpythonOnly},
  };
}

}  // namespace blocking
