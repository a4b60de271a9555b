#include "plugin/python/frames.h"

#include <frameobject.h>

#include "plugin/python/py_ref.h"
#include "plugin/python/python_compat.h"

namespace python {
namespace {

// The modules whose plain functions change objects of a loop. Not those that run a loop of their own
// (asyncio.base_events) or compute for anybody (tornado.template).
constexpr const char* kLoopModules[] = {"asyncio.base_subprocess", "asyncio.futures",
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

// Null with an error set: no memory.
PyObject* new_set_of_loop_modules() noexcept {
  auto names = PyRef::steal(PySet_New(nullptr));
  for (const char* const module : kLoopModules) {
    const auto name = PyRef::steal(PyUnicode_InternFromString(module));
    if (!names || !name || PySet_Add(names.get(), name.get()) != 0) return nullptr;
  }
  return names.release();
}

PyRef code_of(PyFrameObject* frame) noexcept {
#if PY_VERSION_HEX >= 0x03090000
  return PyRef::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
#else
  return PyRef::borrow(reinterpret_cast<PyObject*>(frame->f_code));
#endif
}

PyRef frame_above(PyFrameObject* frame) noexcept {
#if PY_VERSION_HEX >= 0x03090000
  return PyRef::steal(reinterpret_cast<PyObject*>(PyFrame_GetBack(frame)));
#else
  return PyRef::borrow(reinterpret_cast<PyObject*>(frame->f_back));
#endif
}

PyRef globals_of(PyFrameObject* frame) noexcept {
#if PY_VERSION_HEX >= 0x030B0000
  return PyRef::steal(PyFrame_GetGlobals(frame));
#else
  return PyRef::borrow(frame->f_globals);
#endif
}

bool is_of_loop_module(PyFrameObject* frame) noexcept {
  static PyObject* const modules = new_set_of_loop_modules();
  static PyObject* const name_key = PyUnicode_InternFromString("__name__");
  if (modules == nullptr || name_key == nullptr) return false;
  PyObject* const name = PyDict_GetItem(globals_of(frame).get(), name_key);
  return name != nullptr && PyUnicode_CheckExact(name) && PySet_Contains(modules, name) == 1;
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
    const PyRef code = code_of(bare);
    const auto* const bare_code = reinterpret_cast<PyCodeObject*>(code.get());
    if (bare_code->co_name == del) return false;
    on_own_loop = on_own_loop || is_coroutine(bare_code);
    if (!on_own_loop && is_of_loop_module(bare)) return false;
    frame = frame_above(bare);
  }
  return true;
}

}  // namespace python
