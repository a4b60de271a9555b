#include "plugin/request/request_limits.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "plugin/loop/clock.h"
#include "plugin/python/interruption.h"
#include "plugin/request/request_thread.h"
#include "plugin/uwsgi/options.h"

namespace engine {
namespace {

std::string seconds_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%g s", seconds);
  return text;
}

// The number that a value of the environ is, or spells: a route and a proxy can only spell. Below 0
// when it is none.
double number_of(PyObject* value) noexcept {
  if (value == Py_None) return 0;
  double number = -1;
  if (PyUnicode_Check(value)) {
    const char* const text = PyUnicode_AsUTF8(value);
    char* end = nullptr;
    if (text != nullptr) number = std::strtod(text, &end);
    if (text == nullptr || end == text || *end != '\0') number = -1;
  } else {
    number = PyFloat_AsDouble(value);
  }
  PyErr_Clear();
  return std::isfinite(number) ? number : -1;
}

PyObject* interned(const char* text) noexcept { return PyUnicode_InternFromString(text); }

}  // namespace

RequestLimits::RequestLimits(RequestThread& thread) noexcept
    : thread_(thread),
      timer_(thread.loop().raw(), this),
      client_(thread.loop(),
              {[](void* self) noexcept { static_cast<RequestLimits*>(self)->on_client_gone(); }, this}) {}

void RequestLimits::begin() noexcept {
  ended_by_ = EndedBy::kNothing;
  if (options().request_timeout_s > 0) set_timeout(options().request_timeout_s);
}

void RequestLimits::read(PyObject* environ) noexcept {
  static PyObject* const key = interned(kDisconnectKey);
  bool watched = options().client_disconnect;
  if (PyObject* const value = PyDict_GetItemWithError(environ, key)) watched = number_of(value) > 0;
  if (watched) client_.start(thread_.client_fd());
  read_timeout(environ);
}

void RequestLimits::read_variables(const wsgi_request& request, PyObject* environ) {
  for (int i = 0; i + 1 < request.var_cnt; i += 2) {
    const iovec& variable = request.hvec[i];
    const std::string_view name(static_cast<const char*>(variable.iov_base), variable.iov_len);
    if (name.empty() || name.front() != kTimeoutKey[0]) continue;  // In lower case: few are.
    if (name != kTimeoutKey && name != kDisconnectKey) continue;
    const iovec& value = request.hvec[i + 1];
    const auto size = static_cast<Py_ssize_t>(value.iov_len);
    const auto text =
        python::py_check(PyUnicode_DecodeLatin1(static_cast<const char*>(value.iov_base), size, nullptr));
    python::py_check_status(PyDict_SetItemString(environ, std::string(name).c_str(), text.get()));
  }
  read(environ);
}

void RequestLimits::read_timeout(PyObject* environ) noexcept {
  static PyObject* const key = interned(kTimeoutKey);
  PyObject* const value = PyDict_GetItemWithError(environ, key);
  if (value == nullptr || value == timeout_read_.get()) return;
  timeout_read_ = python::PyRef::borrow(value);
  const double seconds = number_of(value);
  if (seconds >= 0) {
    set_timeout(seconds);
    return;
  }
  uwsgi_log("tornado: %s: environ['%s'] is not a number of seconds and is ignored\n",
            name_of(*thread_.request()).c_str(), kTimeoutKey);
}

void RequestLimits::set_timeout(double seconds) noexcept {
  timer_.stop();
  timeout_s_ = seconds;
  if (seconds <= 0) return;
  timer_.start(thread_.began_s() + seconds - loop::monotonic_s());
}

void RequestLimits::on_due() noexcept {
  interrupt(EndedBy::kTimeout, python::request_timeout_type(),
            name_of(*thread_.request()) + " has taken longer than " + seconds_text(timeout_s_));
}

void RequestLimits::on_client_gone() noexcept {
  interrupt(EndedBy::kClientGone, python::client_disconnected_type(),
            "the client of " + name_of(*thread_.request()) + " has gone");
}

void RequestLimits::worker_ends() noexcept {
  interrupt(EndedBy::kWorkerEnd, python::request_timeout_type(),
            name_of(*thread_.request()) + ": the worker ends");
}

// The first stands.
void RequestLimits::interrupt(EndedBy by, PyObject* type, const std::string& message) noexcept {
  if (thread_.task().interruption().begun()) return;
  ended_by_ = by;
  thread_.task().interruption().begin(thread_, type, message);
}

void RequestLimits::settle() noexcept {
  if (thread_.task().interruption().begun()) end();
}

void RequestLimits::end() noexcept {
  timer_.stop();
  client_.stop();
  timeout_read_ = python::PyRef();
  thread_.task().interruption().end(thread_);
}

}  // namespace engine
