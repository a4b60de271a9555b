// Output that is safe in a signal handler: one line, made without allocation, and a Python stack.
#pragma once

#include <Python.h>

#include <cstdint>
#include <cstring>
#include <string_view>

namespace engine {

class RequestThread;

// The interrupted code may hold any lock, so this calls only functions that POSIX allows there. A line that
// is too long is cut.
class SignalLine {
 public:
  SignalLine& operator<<(std::string_view text) noexcept;
  SignalLine& operator<<(std::uint64_t number) noexcept;
  // "0.250"
  SignalLine& seconds(std::int64_t ns) noexcept;

  std::string_view text() const noexcept { return {text_, size_}; }
  // To standard error.
  void write() const noexcept;

 private:
  char text_[1024];
  std::size_t size_ = 0;
};

// "GET /path on core 3", or "work beside the requests".
void name_request(SignalLine& line, const RequestThread& thread) noexcept;

// Finds CPython's dump for signal handlers, faulthandler's own. To be called before any handler is installed,
// with the GIL.
void find_python_dump() noexcept;
// Installs `handler`, which may dump, for `signal`, on the alternate stack, because a request's own stack may
// be nearly full.
void handle_signal(int signal, void (*handler)(int)) noexcept;
// Like name_request() for `running`, or "a callback of the loop" for null.
void name_what_runs(SignalLine& line, const RequestThread* running) noexcept;
// The Python stack of this OS thread to standard error, most recent call first. In a handler.
void dump_python_stack() noexcept;
// The same for another thread's state, which must not run meanwhile. The caller holds the GIL.
void dump_python_stack(PyThreadState* state) noexcept;

}  // namespace engine
