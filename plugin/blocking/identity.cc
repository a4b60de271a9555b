#include "plugin/blocking/identity.h"

#include <cassert>
#include <csignal>

#include "plugin/blocking/real.h"

namespace blocking {
namespace {

thread_local const suspend::Fiber* borrowed = nullptr;

pthread_t own_pthread_self() noexcept {
  if (borrowed != nullptr) return identity_of(*borrowed);
  const suspend::Fiber* fiber = suspend::Fiber::current();
  return fiber == nullptr ? real::pthread_self() : identity_of(*fiber);
}

// signal.pthread_kill(threading.get_ident(), ...) in a request: the OS thread it runs on.
int own_pthread_kill(pthread_t thread, int signal_number) noexcept {
  const suspend::Fiber* fiber = suspend::Fiber::current();
  const bool myself = fiber != nullptr && thread == identity_of(*fiber);
  return pthread_kill(myself ? real::pthread_self() : thread, signal_number);
}

int own_pthread_getcpuclockid(pthread_t thread, clockid_t* clock) noexcept {
  const suspend::Fiber* fiber = suspend::Fiber::current();
  const bool myself = fiber != nullptr && thread == identity_of(*fiber);
  return pthread_getcpuclockid(myself ? real::pthread_self() : thread, clock);
}

}  // namespace

BorrowedIdentity::BorrowedIdentity(const suspend::Fiber& fiber) noexcept {
  assert(borrowed == nullptr);
  borrowed = &fiber;
}

BorrowedIdentity::~BorrowedIdentity() { borrowed = nullptr; }

std::vector<Call> identity_calls() {
  return {
      {"pthread_self", address_of(own_pthread_self), Scope::kLibpythonOnly},
      {"pthread_kill", address_of(own_pthread_kill), Scope::kLibpythonOnly},
      {"pthread_getcpuclockid", address_of(own_pthread_getcpuclockid), Scope::kLibpythonOnly},
  };
}

}  // namespace blocking
