#include "plugin/asgi/lifespan.h"

#include <utility>

#include "plugin/asgi/interface.h"
#include "plugin/asyncio/worker_loop.h"
#include "plugin/python/python_source.h"
#include "plugin/uwsgi/python_bridge.h"
#include "plugin/uwsgi/uwsgi_core.h"

UWSGI_TORNADO_PYTHON_SOURCE(lifespan_source, "plugin/asgi/lifespan.py");

namespace asgi {

using python::py_check;
using python::PyError;
using python::PyRef;

namespace {

std::string mount_point_of(const uwsgi_app& application) {
  return {application.mountpoint, application.mountpoint_len};
}

PyRef make_lifespan(const uwsgi_app& application) {
  static PyObject* const type =
      python::from_python_source(lifespan_source, "uwsgi_tornado.lifespan", "Lifespan").release();
  return py_check(PyObject_CallFunction(type, "OsO", static_cast<PyObject*>(application.callable),
                                        mount_point_of(application).c_str(),
                                        python::WorkerLoop::instance()->event_loop()));
}

}  // namespace

void Lifespans::begin() noexcept {
  for (int id = 0; id < uwsgi_apps_cnt; ++id) {
    if (!is_asgi(uwsgi_apps[id])) continue;
    try {
      PyRef lifespan = make_lifespan(uwsgi_apps[id]);
      PyRef state = py_check(PyObject_GetAttrString(lifespan.get(), "state"));
      lifespans_[id] = {std::move(lifespan), std::move(state)};
    } catch (const PyError&) {
      engine::report_python_error();
    }
  }
}

bool Lifespans::started(std::string& why_not) noexcept {
  for (const auto& [id, kept] : lifespans_) {
    const auto answer = PyRef::steal(PyObject_CallMethod(kept.lifespan.get(), "why_not_started", nullptr));
    if (answer.get() == Py_None) return false;
    const char* const text = answer ? PyUnicode_AsUTF8(answer.get()) : nullptr;
    if (text == nullptr) {
      engine::report_python_error();
    } else if (*text != '\0') {
      why_not =
          "the application of mount point '" + mount_point_of(uwsgi_apps[id]) + "' does not start: " + text;
    }
  }
  return true;
}

bool Lifespans::ended() noexcept {
  bool all = true;
  for (const auto& [id, kept] : lifespans_) {
    const auto answer = PyRef::steal(PyObject_CallMethod(kept.lifespan.get(), "end", nullptr));
    if (!answer) engine::report_python_error();
    all = all && answer.get() != Py_False;
  }
  return all;
}

PyObject* Lifespans::state_of(int application_id) noexcept {
  if (instance_ == nullptr) return nullptr;
  const auto found = instance_->lifespans_.find(application_id);
  return found == instance_->lifespans_.end() ? nullptr : found->second.state.get();
}

}  // namespace asgi
