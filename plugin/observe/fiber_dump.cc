#include "plugin/observe/fiber_dump.h"

#include <arpa/inet.h>
#include <frameobject.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "plugin/python/py_ref.h"
#include "plugin/python/python_compat.h"
#include "plugin/python/python_source.h"
#include "plugin/request/request_host.h"
#include "plugin/uwsgi/python_bridge.h"
#include "plugin/uwsgi/uwsgi_core.h"
#include "suspend/baton.h"

extern "C" void (*uwsgi_fifo_table[256])(int);

UWSGI_TORNADO_PYTHON_SOURCE(coroutine_stack_source, "plugin/observe/coroutine_stack.py");

namespace engine {
namespace {

using python::none;
using python::py_check;
using python::py_check_status;
using python::PyRef;

bool is_request(const RequestThread& thread) noexcept { return thread.request()->socket != nullptr; }

// "10.0.0.1:5432", the path of a unix socket, or nothing.
std::string peer_of(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (fd < 0 || getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "";
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto& ip4 = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &ip4.sin_addr, text, sizeof text);
    return std::string(text) + ':' + std::to_string(ntohs(ip4.sin_port));
  }
  if (address.ss_family == AF_INET6) {
    const auto& ip6 = reinterpret_cast<const sockaddr_in6&>(address);
    inet_ntop(AF_INET6, &ip6.sin6_addr, text, sizeof text);
    return '[' + std::string(text) + "]:" + std::to_string(ntohs(ip6.sin6_port));
  }
  if (address.ss_family == AF_UNIX) return reinterpret_cast<const sockaddr_un&>(address).sun_path;
  return "";
}

bool runs(const RequestThread& thread) noexcept {
  return &thread == RequestThread::current() || &thread == RequestThread::stepping();
}

// Null: it runs, or has given way.
const suspend::Baton* wait_of(RequestThread& thread) noexcept {
  return runs(thread) ? nullptr : thread.fiber().waiting();
}

const char* state_of(RequestThread& thread) noexcept {
  if (runs(thread)) return "runs";
  return wait_of(thread) != nullptr ? "waits" : "gave way";
}

PyRef text_or_none(std::string_view text) {
  if (text.empty()) return none();
  return py_check(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
}

void set(const PyRef& dict, const char* key, PyRef value) {
  py_check_status(PyDict_SetItemString(dict.get(), key, value.get()));
}

PyRef described(RequestThread& thread) {
  const wsgi_request& request = *thread.request();
  const bool of_request = is_request(thread);
  const suspend::Baton* const waiting = wait_of(thread);
  const int fd = waiting == nullptr ? -1 : waiting->fd();
  PyRef dict = py_check(PyDict_New());
  set(dict, "core", of_request ? py_check(PyLong_FromLong(request.async_id)) : none());
  set(dict, "method", of_request ? text_or_none({request.method, request.method_len}) : none());
  set(dict, "uri", of_request ? text_or_none({request.uri, request.uri_len}) : none());
  set(dict, "client", of_request ? text_or_none({request.remote_addr, request.remote_addr_len}) : none());
  set(dict, "age", py_check(PyFloat_FromDouble(thread.age_s())));
  set(dict, "state", py_check(PyUnicode_FromString(state_of(thread))));
  set(dict, "waits_for", waiting == nullptr ? none() : py_check(PyUnicode_FromString(waiting->what())));
  set(dict, "fd", fd < 0 ? none() : py_check(PyLong_FromLong(fd)));
  set(dict, "peer", text_or_none(peer_of(fd)));
  set(dict, "since", py_check(PyFloat_FromDouble(thread.since_s())));
  set(dict, "switches", py_check(PyLong_FromUnsignedLongLong(thread.times_resumed())));
  set(dict, "stack", py_check(PyLong_FromSize_t(thread.fiber().stack().bytes_used())));
  return dict;
}

// The frame that runs or will go on, or null. A new reference.
PyRef frame_of(RequestThread& thread) noexcept {
  PyThreadState* const state = thread.thread_state().get();
  return PyRef::steal(reinterpret_cast<PyObject*>(PyThreadState_GetFrame(state)));
}

// One line, without the end of it.
std::string summary_of(RequestThread& thread) {
  char times[96];
  std::snprintf(times, sizeof times, ": %.3f s old, %s", thread.age_s(), state_of(thread));
  std::string line = title_of(thread) + times;
  if (runs(thread)) return line;
  if (const suspend::Baton* const waiting = wait_of(thread)) {
    line += std::string(" for ") + waiting->what();
    if (waiting->fd() >= 0) line += " of descriptor " + std::to_string(waiting->fd());
    const std::string peer = peer_of(waiting->fd());
    if (!peer.empty()) line += " (" + peer + ")";
  }
  std::snprintf(times, sizeof times, ", since %.3f s", thread.since_s());
  return line + times;
}

std::string entry_of(RequestThread& thread) { return summary_of(thread) + '\n' + python_stack_of(thread); }

// A text of any length: uwsgi_log() takes lines.
void log_text(const std::string& text) noexcept {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
    uwsgi_log("%.*s", static_cast<int>(end - begin), text.c_str() + begin);
    begin = end;
  }
}

}  // namespace

std::string title_of(RequestThread& thread) {
  const wsgi_request& request = *thread.request();
  if (!is_request(thread)) return "a function outside any request";
  return name_of(request) + " (core " + std::to_string(request.async_id) + ')';
}

namespace {

std::string text_of(const PyRef& text) {
  Py_ssize_t size = 0;
  const char* const bytes = PyUnicode_AsUTF8AndSize(text.get(), &size);
  if (bytes == nullptr) throw python::PyError{};
  return std::string(bytes, static_cast<std::size_t>(size));
}

std::string stack_of_coroutine(const PyRef& coroutine) {
  static PyObject* const function =
      python::from_python_source(coroutine_stack_source, "uwsgi_tornado.dump", "stack_of").release();
  return text_of(py_check(PyObject_CallFunctionObjArgs(function, coroutine.get(), nullptr)));
}

}  // namespace

std::string python_stack_of(RequestThread& thread) {
  if (const AsyncApplication* const application = thread.application()) {
    const PyRef coroutine = application->coroutine();
    return coroutine ? stack_of_coroutine(coroutine) : "  the application has ended\n";
  }
  const PyRef frame = frame_of(thread);
  if (!frame) return "  outside Python\n";
  const PyRef traceback = py_check(PyImport_ImportModule("traceback"));
  const PyRef lines = py_check(PyObject_CallMethod(traceback.get(), "format_stack", "O", frame.get()));
  const PyRef empty = py_check(PyUnicode_FromString(""));
  const PyRef joined = py_check(PyUnicode_Join(empty.get(), lines.get()));
  return text_of(joined);
}

void offer_dump_by_fifo() noexcept {
  if (uwsgi_fifo_table['d'] != nullptr) return;
  uwsgi_fifo_table['d'] = [](int) {
    for (int i = 1; i <= uwsgi.numproc; ++i) {
      if (uwsgi.workers[i].pid > 0) kill(uwsgi.workers[i].pid, SIGUSR2);
    }
  };
}

// Imports the modules of a dump early, because a suspended request may hold an import lock later.
FiberDump::FiberDump(const RequestHost& host) noexcept : host_(host) {
  for (const char* const name : {"traceback", "linecache", "tokenize"}) {
    if (!PyRef::steal(PyImport_ImportModule(name))) report_python_error();
  }
}

PyRef FiberDump::fibers() {
  const python::SuspensionForbidden while_they_stand_still;
  PyRef list = py_check(PyList_New(0));
  for (RequestThread* const thread : host_.threads())
    py_check_status(PyList_Append(list.get(), described(*thread).get()));
  return list;
}

PyRef FiberDump::dump() {
  const python::SuspensionForbidden while_they_stand_still;
  std::string text;
  for (RequestThread* const thread : host_.threads()) text += entry_of(*thread) + '\n';
  return py_check(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
}

void FiberDump::log() noexcept {
  const std::vector<RequestThread*> threads = host_.threads();
  uwsgi_log("tornado: worker %d (pid: %d) runs or holds %zu requests and functions\n", uwsgi.mywid,
            uwsgi.mypid, threads.size());
  try {
    for (RequestThread* const thread : threads) log_text("tornado: " + entry_of(*thread));
  } catch (const python::PyError&) {
    report_python_error();
  }
}

}  // namespace engine
