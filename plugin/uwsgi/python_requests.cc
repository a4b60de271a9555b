#include "plugin/uwsgi/python_requests.h"

#include <cstdint>
#include <utility>

#include "plugin/python/application.h"
#include "plugin/python/interruption.h"
#include "plugin/python/py_ref.h"
#include "plugin/uwsgi/interfaces.h"
#include "plugin/uwsgi/io_errors.h"
#include "plugin/uwsgi/python_bridge.h"
#include "plugin/uwsgi/repeated_strings.h"
#include "plugin/uwsgi/wsgi_callables.h"

extern "C" {
#include "plugins/python/uwsgi_python.h"
extern struct uwsgi_server uwsgi;
// Weak, so that a process without the python plugin gets a sentence instead of a linker's error.
extern struct uwsgi_python up __attribute__((weak));
extern void* uwsgi_request_subhandler_wsgi(struct wsgi_request*, struct uwsgi_app*) __attribute__((weak));
extern int uwsgi_response_subhandler_wsgi(struct wsgi_request*) __attribute__((weak));
extern void* uwsgi_python_create_env_cheat(struct wsgi_request*, struct uwsgi_app*) __attribute__((weak));
// CPython's own, exported by some versions.
extern PyObject* _PyDict_NewPresized(Py_ssize_t) __attribute__((weak));
}

namespace engine {
namespace {

// What the python plugin had before the engine took over.
struct {
  void* (*env_create)(wsgi_request*, uwsgi_app*);
  void (*env_destroy)(wsgi_request*);
  void (*exception_log)(wsgi_request*);
  int (*signal_handler)(std::uint8_t, void*);
  std::uint64_t (*rpc)(void*, std::uint8_t, char**, std::uint16_t*, char**);
} original;

PythonRequests* watcher = nullptr;

void show_environ(PyObject* environ) noexcept { watcher->python_called(environ); }

python::PyRef take_result(python::PyRef result) noexcept {
  watcher->python_returned();
  return up.wsgi_strict ? std::move(result) : python::without_list_of_one(std::move(result));
}

// Takes the next chunk, where it may be kept. Otherwise uWSGI's iterator is such that uWSGI finds there what
// this has found: another object than bytes, or an exception.
bool keep_next_chunk(wsgi_request* request) noexcept {
  auto* const chunks = static_cast<PyObject*>(request->async_placeholder);
  if (chunks == nullptr || !watcher->may_keep_chunks(request)) return false;
  const auto chunk = python::PyRef::steal(PyIter_Next(chunks));
  if (chunk && PyBytes_CheckExact(chunk.get())) {
    watcher->keep_chunk(
        request, {PyBytes_AS_STRING(chunk.get()), static_cast<std::size_t>(PyBytes_GET_SIZE(chunk.get()))});
    return true;
  }
  if (!chunk && !PyErr_Occurred()) return false;  // Its end, which an iterator repeats.
  try {
    python::PyRef found =
        chunk ? python::iterator_with_first(chunk.get(), chunks) : python::iterator_that_raises();
    request->async_placeholder = found.release();
    Py_DECREF(chunks);
  } catch (const python::PyError&) {
    PyErr_Print();  // Out of memory: the response ends here.
  }
  return false;
}

// Sends chunk after chunk, as uWSGI does if no request is async. Its yield protocol sets keys of the environ
// at each chunk, which costs more than the chunk.
int send_response(wsgi_request* request) noexcept {
  for (;;) {
    while (keep_next_chunk(request)) {
      if (!watcher->python_yielded(request)) return UWSGI_AGAIN;
    }
    watcher->send_kept_chunks(request);
    const int status = uwsgi_response_subhandler_wsgi(request);
    if (status == UWSGI_OK || !watcher->python_yielded(request)) return status;
  }
}

// Before its first request: has it served as what it is, and wraps a WSGI application.
void prepare_once(uwsgi_app* app) noexcept {
  if (python::is_wrapped(static_cast<PyObject*>(app->callable)) || served_by(*app) != nullptr) return;
  if (const Interface* const interface = interface_of(*app)) {
    app->request_subhandler = interface->request;
    app->response_subhandler = interface->response;
    return;
  }
  auto* callable = static_cast<PyObject*>(app->callable);
  if (python::is_wrapped(callable)) return;  // By another request, meanwhile.
  try {
    app->callable = python::wrap_application(callable, take_result, show_environ).release();
    Py_DECREF(callable);
    if (app->response_subhandler == uwsgi_response_subhandler_wsgi) app->response_subhandler = send_response;
  } catch (const python::PyError&) {
    PyErr_Clear();  // Out of memory: the application runs as it is.
  }
}

// Whether uWSGI would keep one dict for each core, and empty it after each request ("cheat", its default).
bool shares_environ(const uwsgi_app& app) noexcept {
  return original.env_create == uwsgi_python_create_env_cheat &&
         app.request_subhandler == uwsgi_request_subhandler_wsgi && _PyDict_NewPresized != nullptr;
}

// The table of an emptied dict grows from nothing, three times in each request. A dict that is made for all
// of the request's variables need not grow.
void presize_environ(const wsgi_request& request, uwsgi_app& app) noexcept {
  constexpr Py_ssize_t kOfUwsgi = 18;  // Variables that no client sends.
  // uWSGI puts it into this tuple, which it cannot do while other code has a reference.
  if (!shares_environ(app) || Py_REFCNT(app.args[request.async_id]) != 1) return;
  PyObject* const environ = _PyDict_NewPresized(request.var_cnt / 2 + kOfUwsgi);
  if (environ == nullptr) PyErr_Clear();
  else Py_DECREF(static_cast<PyObject*>(std::exchange(app.environ[request.async_id], environ)));
}

void* env_create(wsgi_request* request, uwsgi_app* app) noexcept {
  prepare_once(app);
  presize_environ(*request, *app);
  void* environ = original.env_create(request, app);
  watcher->python_begins(request, static_cast<PyObject*>(environ));
  return environ;
}

void env_destroy(wsgi_request* request) noexcept {
  auto* const environ = static_cast<PyObject*>(request->async_environ);
  original.env_destroy(request);
  watcher->python_ends(request);
  // uWSGI never gives this reference back.
  if (shares_environ(uwsgi_apps[request->app_id])) Py_DECREF(environ);
}

void exception_log(wsgi_request* request) noexcept {
  python::contain_system_exit();
  if (watcher->python_failed(request)) original.exception_log(request);
  else PyErr_Clear();
}

// A callable of the application that uWSGI calls, with or without the GIL held. uWSGI prints its exceptions,
// so SystemExit must not reach it.
class Contained {
 public:
  explicit Contained(void* callable) noexcept {
    up.gil_get();
    auto* const object = static_cast<PyObject*>(callable);
    try {
      wrapped_ = python::wrap_application(object, nullptr);
    } catch (const python::PyError&) {
      PyErr_Clear();  // Out of memory.
      wrapped_ = python::PyRef::borrow(object);
    }
    up.gil_release();
  }
  ~Contained() {
    up.gil_get();
    wrapped_ = python::PyRef();
    up.gil_release();
  }
  Contained(const Contained&) = delete;
  Contained& operator=(const Contained&) = delete;
  PyObject* get() const noexcept { return wrapped_.get(); }

 private:
  python::PyRef wrapped_;
};

int signal_handler(std::uint8_t signal_number, void* handler) noexcept {
  const Contained contained(handler);
  return original.signal_handler(signal_number, contained.get());
}

std::uint64_t rpc(void* function, std::uint8_t argc, char** argv, std::uint16_t* sizes,
                  char** answer) noexcept {
  const Contained contained(function);
  return original.rpc(contained.get(), argc, argv, sizes, answer);
}

// The python plugin names its keys by C strings, and CPython interns each: a string nobody else
// keeps is entered in the table of interned strings and taken out of it at every request. That is so
// where repeated_strings.h has no calls to redirect.
void keep_keys_interned() noexcept {
  for (const char* key :
       {"wsgi.input", "wsgi.file_wrapper", "wsgi.version", "wsgi.errors", "wsgi.run_once", "wsgi.multithread",
        "wsgi.multiprocess", "wsgi.url_scheme", "uwsgi.version", "uwsgi.core", "uwsgi.node", "uwsgi.ready_fd",
        "x-wsgiorg.fdevent.readable", "x-wsgiorg.fdevent.writable", "x-wsgiorg.fdevent.timeout", "env"}) {
    static_cast<void>(PyUnicode_InternFromString(key));  // For the worker's life.
  }
  PyErr_Clear();
}

// The single callables of uWSGI, whose exceptions it prints.
void wrap_single_callables() noexcept {
  try {
    if (up.raw_callable != nullptr) {
      auto* const raw = static_cast<PyObject*>(up.raw_callable);
      up.raw_callable = python::wrap_raw_application(raw).release();
      Py_DECREF(raw);
    }
    if (up.after_req_hook != nullptr) {
      PyObject* const hook = up.after_req_hook;
      up.after_req_hook = python::wrap_application(hook, nullptr).release();
      Py_DECREF(hook);
    }
  } catch (const python::PyError&) {
    PyErr_Clear();  // Out of memory: they stay as they are.
  }
}

// The table of applications is shared memory: a worker that died has left its own wrappers
// there for the one in its place, whose memory they are not in.
void forget_wrappers_of_predecessor() noexcept {
  if (uwsgi.mywid == 0) return;
  for (int id = 0; id < uwsgi.workers[0].apps_cnt; ++id) {
    uwsgi_apps[id].callable = uwsgi.workers[0].apps[id].callable;
  }
}

}  // namespace

void watch_requests(PythonRequests* requests) noexcept {
  watcher = requests;
  forget_wrappers_of_predecessor();
  for (int id = 0; id < uwsgi_apps_cnt; ++id) prepare_once(&uwsgi_apps[id]);
  keep_repeated_strings();
  python::turn_cancelled_calls_into_interruptions();
  turn_io_errors_into_interruptions();
  try {
    python::shield_forks();
  } catch (const python::PyError&) {
    PyErr_Print();  // Forks are interrupted as any call is.
  }
  keep_keys_interned();
  follow_pep_3333();
  wrap_single_callables();
  original.env_create = up.wsgi_env_create;
  original.env_destroy = up.wsgi_env_destroy;
  up.wsgi_env_create = env_create;
  up.wsgi_env_destroy = env_destroy;
  uwsgi_plugin* const plugin = python_plugin();
  if (plugin == nullptr) return;
  original.exception_log = std::exchange(plugin->exception_log, exception_log);
  original.signal_handler = std::exchange(plugin->signal_handler, signal_handler);
  original.rpc = std::exchange(plugin->rpc, rpc);
}

}  // namespace engine
