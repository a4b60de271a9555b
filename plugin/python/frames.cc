#include "plugin/python/frames.h"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "plugin/python/py_ref.h"
#include "plugin/python/python_compat.h"

namespace python {
namespace {

// The modules whose plain functions change objects of a loop. Not those that run a loop of their own
// (asyncio.base_events) or compute for anybody (tornado.template).
constexpr std::string_view kLoopModules[] = {"asyncio.base_subprocess", "asyncio.futures",
                                             "asyncio.locks",           "asyncio.queues",
                                             "asyncio.sslproto",        "asyncio.streams",
                                             "asyncio.subprocess",      "asyncio.taskgroups",
                                             "asyncio.tasks",           "asyncio.timeouts",
                                             "asyncio.transports",      "tornado.concurrent",
                                             "tornado.curl_httpclient", "tornado.gen",
                                             "tornado.http1connection", "tornado.httpclient",
                                             "tornado.iostream",        "tornado.locks",
                                             "tornado.netutil",         "tornado.process",
                                             "tornado.queues",          "tornado.simple_httpclient",
                                             "tornado.tcpclient",       "tornado.websocket"};

bool is_of_loop_module(PyFrameObject* frame) noexcept {
  static PyObject* const name_key = PyUnicode_InternFromString("__name__");
  const auto globals = PyRef::steal(PyFrame_GetGlobals(frame));
  PyObject* const name = PyDict_GetItem(globals.get(), name_key);  // Borrowed.
  if (name == nullptr || !PyUnicode_Check(name)) return false;
  return std::find(std::begin(kLoopModules), std::end(kLoopModules), text_of(name)) != std::end(kLoopModules);
}

// A coroutine that runs on a fiber is one of a loop that the request made and runs itself. Nobody else has
// its objects.
bool is_coroutine(const PyCodeObject* code) noexcept {
  return (code->co_flags & (CO_COROUTINE | CO_ASYNC_GENERATOR)) != 0;
}

}  // namespace

bool may_be_left(PyThreadState* state) noexcept {
  static PyObject* const del = PyUnicode_InternFromString("__del__");
  bool on_own_loop = false;
  auto frame = PyRef::steal(reinterpret_cast<PyObject*>(PyThreadState_GetFrame(state)));
  while (frame) {
    auto* const bare = reinterpret_cast<PyFrameObject*>(frame.get());
    const auto code = PyRef::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(bare)));
    const auto* const bare_code = reinterpret_cast<PyCodeObject*>(code.get());
    if (bare_code->co_name == del) return false;
    on_own_loop = on_own_loop || is_coroutine(bare_code);
    if (!on_own_loop && is_of_loop_module(bare)) return false;
    frame = PyRef::steal(reinterpret_cast<PyObject*>(PyFrame_GetBack(bare)));
  }
  return true;
}

}  // namespace python
