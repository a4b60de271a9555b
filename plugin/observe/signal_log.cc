#include "plugin/observe/signal_log.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "plugin/python/py_ref.h"
#include "plugin/python/state_fields.h"
#include "plugin/request/request_thread.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {
namespace {

constexpr std::size_t kUriMax = 512;  // Of the line.

#if PY_VERSION_HEX < 0x030D0000
// Null where this Python has none.
using DumpTraceback = void (*)(int fd, PyThreadState* state);
DumpTraceback dump_traceback = nullptr;
#else
// CPython's dump has no name outside of it there. The module faulthandler answers a signal with it.
bool dump_is_registered = false;

// A real-time signal without a common use.
int dump_signal() noexcept { return SIGRTMAX - 7; }

void register_dump() noexcept {
  constexpr int kAllThreads = 0;
  const auto faulthandler = python::PyRef::steal(PyImport_ImportModule("faulthandler"));
  const auto done =
      python::PyRef::steal(faulthandler ? PyObject_CallMethod(faulthandler.get(), "register", "iii",
                                                              dump_signal(), STDERR_FILENO, kAllThreads)
                                        : nullptr);
  dump_is_registered = static_cast<bool>(done);
  PyErr_Clear();
}

void write_frame(PyFrameObject* frame, PyCodeObject* code) noexcept {
  SignalLine line;
  line << "  File \"" << python::text_of(code->co_filename) << "\", line "
       << static_cast<std::uint64_t>(std::max(0, PyFrame_GetLineNumber(frame))) << " in "
       << python::text_of(code->co_name) << "\n";
  line.write();
}

// As CPython's dump does.
void write_stack(PyThreadState* state) noexcept {
  constexpr int kFramesMax = 100;
  (SignalLine() << "Stack (most recent call first):\n").write();
  auto frame = python::PyRef::steal(reinterpret_cast<PyObject*>(PyThreadState_GetFrame(state)));
  for (int i = 0; frame && i < kFramesMax; ++i) {
    auto* const bare = reinterpret_cast<PyFrameObject*>(frame.get());
    const auto code = python::PyRef::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(bare)));
    write_frame(bare, reinterpret_cast<PyCodeObject*>(code.get()));
    frame = python::PyRef::steal(reinterpret_cast<PyObject*>(PyFrame_GetBack(bare)));
  }
}
#endif

}  // namespace

SignalLine& SignalLine::operator<<(std::string_view text) noexcept {
  const std::size_t count = std::min(text.size(), sizeof text_ - size_);
  std::memcpy(text_ + size_, text.data(), count);
  size_ += count;
  return *this;
}

SignalLine& SignalLine::operator<<(std::uint64_t number) noexcept {
  char digits[20];
  char* first = digits + sizeof digits;
  do {
    *--first = static_cast<char>('0' + number % 10);
  } while ((number /= 10) != 0);
  return *this << std::string_view(first, static_cast<std::size_t>(digits + sizeof digits - first));
}

SignalLine& SignalLine::seconds(std::int64_t ns) noexcept {
  const auto ms = static_cast<std::uint64_t>(std::max<std::int64_t>(0, ns) / 1'000'000);
  *this << ms / 1000 << ".";
  return *this << ms / 100 % 10 << ms / 10 % 10 << ms % 10;
}

void SignalLine::write() const noexcept { (void)!::write(STDERR_FILENO, text_, size_); }

void name_request(SignalLine& line, const RequestThread& thread) noexcept {
  const wsgi_request& request = *thread.request();
  if (request.method_len == 0 || request.uri == nullptr) {
    line << "work beside the requests";
    return;
  }
  line << std::string_view(request.method, request.method_len) << " "
       << std::string_view(request.uri, std::min<std::size_t>(request.uri_len, kUriMax)) << " on core "
       << static_cast<std::uint64_t>(request.async_id);
}

void find_python_dump() noexcept {
#if PY_VERSION_HEX < 0x030D0000
  dump_traceback = reinterpret_cast<DumpTraceback>(dlsym(RTLD_DEFAULT, "_Py_DumpTraceback"));
#else
  if (!dump_is_registered) register_dump();
#endif
}

void handle_signal(int signal, void (*handler)(int)) noexcept {
  find_python_dump();
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  sigaction(signal, &action, nullptr);
}

void name_what_runs(SignalLine& line, const RequestThread* running) noexcept {
  if (running == nullptr) running = RequestThread::stepping();
  if (running == nullptr) line << "a callback of the loop";
  else name_request(line, *running);
}

#if PY_VERSION_HEX < 0x030D0000
void dump_python_stack() noexcept { dump_python_stack(PyGILState_GetThisThreadState()); }

void dump_python_stack(PyThreadState* state) noexcept {
  if (dump_traceback != nullptr && state != nullptr) dump_traceback(STDERR_FILENO, state);
}
#else
void dump_python_stack() noexcept {
  // Python that ends takes its handler away.
  if (dump_is_registered && !python::python_is_finalizing()) raise(dump_signal());
}

void dump_python_stack(PyThreadState* state) noexcept {
  if (state != nullptr) write_stack(state);
}
#endif

}  // namespace engine
