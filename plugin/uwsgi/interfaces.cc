#include "plugin/uwsgi/interfaces.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "plugin/python/py_ref.h"
#include "plugin/python/python_source.h"
#include "plugin/uwsgi/options.h"

extern "C" {
#include "plugins/python/uwsgi_python.h"
extern struct uwsgi_server uwsgi;
extern struct uwsgi_python up __attribute__((weak));
extern void* uwsgi_request_subhandler_wsgi(struct wsgi_request*, struct uwsgi_app*) __attribute__((weak));
}

UWSGI_TORNADO_PYTHON_SOURCE(interfaces_source, "plugin/uwsgi/interfaces.py");

namespace engine {
namespace {

using python::py_check;
using python::PyError;
using python::PyRef;

std::vector<Interface>& served() noexcept {
  static std::vector<Interface> interfaces;
  return interfaces;
}

const Interface* named(std::string_view name) noexcept {
  const auto found =
      std::find_if(served().begin(), served().end(), [=](const Interface& one) { return name == one.name; });
  return found == served().end() ? nullptr : &*found;
}

std::string mount_point_of(const uwsgi_app& application) {
  return {application.mountpoint, application.mountpoint_len};
}

// What the options say; empty: to be found out.
std::string forced_interface(const std::string& mount_point) {
  const auto own = options().interface_of_mount.find(mount_point);
  const std::string& name = own == options().interface_of_mount.end() ? options().interface : own->second;
  return name == "auto" ? "" : name;
}

struct Found {
  std::string name;  // Empty: none, for the reason that follows.
  std::string why_not;
};

std::string text_of(PyObject* object) {
  const char* const text = object == Py_None ? "" : PyUnicode_AsUTF8(object);
  if (text == nullptr) throw PyError{};
  return text;
}

Found served_as(const std::string& name) {
  if (name == "wsgi" || named(name) != nullptr) return {name, ""};
  return {"", "this build cannot serve " + name + " applications"};
}

Found look_at(PyObject* callable, const std::string& mount_point) {
  const std::string forced = forced_interface(mount_point);
  if (!forced.empty()) return served_as(forced);
  static PyObject* const question =
      python::from_python_source(interfaces_source, "uwsgi_tornado.interfaces", "interface_of").release();
  const PyRef names = py_check(PyList_New(0));
  for (const Interface& one : served()) {
    python::py_check_status(PyList_Append(names.get(), py_check(PyUnicode_FromString(one.name)).get()));
  }
  const PyRef answer = py_check(PyObject_CallFunctionObjArgs(question, callable, names.get(), nullptr));
  const std::string name = text_of(PyTuple_GET_ITEM(answer.get(), 0));
  return name.empty() ? Found{"", text_of(PyTuple_GET_ITEM(answer.get(), 1))} : served_as(name);
}

// False when it is not served, which is said in the log.
bool admit(PyObject* callable, const std::string& mount_point) noexcept {
  try {
    const Found found = look_at(callable, mount_point);
    if (!found.name.empty()) return true;
    uwsgi_log("tornado: the application of mount point '%s' is not served: %s\n", mount_point.c_str(),
              found.why_not.c_str());
  } catch (const PyError&) {
    PyErr_Print();  // Its own code, of a property say.
  }
  return false;
}

// As its python plugin has loaded it; it has other interfaces of its own (web3, pump).
bool is_uwsgis_wsgi(const uwsgi_app& application) noexcept {
  return application.request_subhandler == uwsgi_request_subhandler_wsgi;
}

// --- Applications that uWSGI has loaded already -----------------------------------------------

// As if it had not been loaded: without any --need-app holds.
void leave_refused_ones_out() noexcept {
  int kept = 0;
  for (int id = 0; id < uwsgi_apps_cnt; ++id) {
    const uwsgi_app& application = uwsgi_apps[id];
    if (is_uwsgis_wsgi(application) &&
        !admit(static_cast<PyObject*>(application.callable), mount_point_of(application))) {
      if (uwsgi.default_app == id) uwsgi.default_app = -1;
      continue;
    }
    if (uwsgi.default_app == id) uwsgi.default_app = kept;
    if (kept != id) uwsgi_apps[kept] = application;
    ++kept;
  }
  if (kept == uwsgi_apps_cnt) return;
  uwsgi_apps_cnt = kept;
  if (uwsgi.mywid != 0) return;
  for (int worker = 1; worker <= uwsgi.numproc; ++worker) {  // Theirs are copies.
    std::copy(uwsgi_apps, uwsgi_apps + kept, uwsgi.workers[worker].apps);
    uwsgi.workers[worker].apps_cnt = kept;
  }
}

// --- Those that it loads later: --mount, and what a request names ------------------------------

using Loader = PyObject* (*)(void*);

std::array<Loader, LOADER_MAX> loaders;

// uWSGI has entered the mount point before it calls the loader. A mule has functions loaded by it, too.
template <int kKind>
PyObject* load(void* what) noexcept {
  PyObject* const callable = loaders[kKind](what);
  if (callable == nullptr || PyDict_Check(callable) || uwsgi.muleid > 0) return callable;
  return admit(callable, mount_point_of(uwsgi_apps[uwsgi_apps_cnt])) ? callable : nullptr;
}

template <int kKind>
void watch_loader() noexcept {
  if (up.loaders[kKind] == load<kKind>) return;
  loaders[kKind] = up.loaders[kKind];
  up.loaders[kKind] = load<kKind>;
}

}  // namespace

void serve_interface(const Interface& interface) {
  if (named(interface.name) == nullptr) served().push_back(interface);
}

void look_at_applications() noexcept {
  leave_refused_ones_out();
  watch_loader<LOADER_MOUNT>();
  watch_loader<LOADER_CALLABLE>();
  watch_loader<LOADER_DYN>();
}

const Interface* interface_of(const uwsgi_app& application) noexcept {
  if (!is_uwsgis_wsgi(application)) return nullptr;
  const Interface* found = nullptr;
  try {
    const std::string mount_point = mount_point_of(application);
    found = named(look_at(static_cast<PyObject*>(application.callable), mount_point).name);
    if (uwsgi.mywid == 1) {
      uwsgi_log("tornado: mount point '%s' is served as %s\n", mount_point.c_str(),
                found == nullptr ? "WSGI" : found->shown);
    }
  } catch (const PyError&) {
    PyErr_Clear();  // Said as it was loaded.
  }
  return found;
}

const Interface* served_by(const uwsgi_app& application) noexcept {
  const auto found = std::find_if(served().begin(), served().end(), [&](const Interface& one) {
    return application.request_subhandler == one.request;
  });
  return found == served().end() ? nullptr : &*found;
}

}  // namespace engine
