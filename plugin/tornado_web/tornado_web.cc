#include "plugin/tornado_web/tornado_web.h"

#include <new>
#include <utility>

#include "plugin/asyncio/event_loop.h"
#include "plugin/asyncio/worker_loop.h"
#include "plugin/exchange/exchange_object.h"
#include "plugin/python/interruption.h"
#include "plugin/python/python_source.h"
#include "plugin/request/async_application.h"
#include "plugin/uwsgi/interfaces.h"
#include "plugin/uwsgi/python_bridge.h"

// The text of connection.py, for the assembler to find in the folders of the headers.
asm(".pushsection .rodata\n"
    "uwsgi_tornado_connection_source:\n"
    ".incbin \"plugin/tornado_web/connection.py\"\n"
    ".byte 0\n"
    ".popsection");
extern "C" const char uwsgi_tornado_connection_source[] __attribute__((visibility("hidden")));

namespace engine {
namespace {

using python::none;
using python::py_check;
using python::PyError;
using python::PyRef;

// How long a handler that a deadline has cancelled may take to clean up.
constexpr double kCleanUpS = 5;

PyObject* connection_type() {
  static PyObject* const type =
      python::from_python_source(uwsgi_tornado_connection_source, "uwsgi_tornado.tornado_web", "Connection")
          .release();
  return type;
}

// A request of a Tornado application, on the stack of its fiber.
class TornadoRequest final : public AsyncApplication {
 public:
  TornadoRequest(RequestThread& thread, wsgi_request& request, PyObject* application)
      : thread_(thread), object_(make_exchange(thread)), exchange_(exchange_of(object_.get())) {
    auto* const environ = static_cast<PyObject*>(request.async_environ);
    connection_ = py_check(
        PyObject_CallFunctionObjArgs(connection_type(), application, object_.get(), environ, nullptr));
    set_owner(object_.get(), connection_.get());
    thread_.set_application(this);
  }
  ~TornadoRequest() {
    thread_.set_application(nullptr);
    exchange_.leave();
    set_owner(object_.get(), nullptr);
  }
  TornadoRequest(const TornadoRequest&) = delete;
  TornadoRequest& operator=(const TornadoRequest&) = delete;

  // Until it is answered. Throws PyError.
  void serve();

  void going_away() noexcept override { call("going_away"); }
  void connection_lost() noexcept override { exchange_.connection_lost(); }
  PyRef task() const override { return attribute("task"); }
  PyRef coroutine() const override { return attribute("coroutine"); }

 private:
  void begin() noexcept;
  bool end_interrupted();
  void raise_error();
  void call_on_loop(const char* method, PyObject* argument);
  void call(const char* method) noexcept;
  PyRef attribute(const char* name) const noexcept;

  RequestThread& thread_;
  const PyRef object_;
  Exchange& exchange_;
  PyRef connection_;
  PyRef beginning_;  // A handle of asyncio's.
};

python::EventLoop& event_loop() noexcept {
  return *python::EventLoop::of(python::WorkerLoop::instance()->event_loop());
}

void TornadoRequest::serve() {
  call_on_loop("begin", nullptr);
  beginning_ = event_loop().take_newest();
  thread_.call_when_left({[](void* self) noexcept { static_cast<TornadoRequest*>(self)->begin(); }, this});
  bool answered = exchange_.serve(loop::Deadline::never());
  if (!answered) answered = end_interrupted();
  call("close");
  if (!answered) python::raise_if_interrupted(thread_);
  raise_error();
}

// As the fiber has been left, on the loop's own stack: what answers without a wait costs no turn of the loop.
// But in the middle of another's callback it waits for its turn.
void TornadoRequest::begin() noexcept {
  python::EventLoop& loop = event_loop();
  PyRef handle = std::exchange(beginning_, {});
  if (loop.runs_callbacks()) {
    loop.add_ready(std::move(handle));
    return;
  }
  const PyRef connection = connection_;
  RequestThread::application_steps(&thread_);
  loop.run_now(std::move(handle));
  // The first step of the handler's task, if that task was scheduled last.
  const PyRef begun = PyRef::steal(PyObject_GetAttrString(connection.get(), "begun"));
  if (begun.get() == Py_True) {
    if (PyRef step = loop.take_newest()) loop.run_now(std::move(step));
  }
  PyErr_Clear();
  RequestThread::application_steps(nullptr);
}

// The handler is cancelled, but data that it sends is sent. Returns true if that was a whole response.
bool TornadoRequest::end_interrupted() {
  const bool client_left = thread_.limits().ended_by() == EndedBy::kClientGone;
  const python::Shielded shielded(thread_);
  call_on_loop("interrupt", client_left ? Py_True : Py_False);
  exchange_.serve(loop::Deadline::after(kCleanUpS));
  return attribute("finished").get() == Py_True && exchange_.started() && exchange_.sent() && !client_left;
}

// The delegate's own.
void TornadoRequest::raise_error() {
  const PyRef error = attribute("error");
  if (!error || error.get() == Py_None) return;
  PyErr_SetObject(PyExceptionInstance_Class(error.get()), error.get());
  throw PyError{};
}

// In the next turn of the loop, on its own stack.
void TornadoRequest::call_on_loop(const char* method, PyObject* argument) {
  const PyRef bound = py_check(PyObject_GetAttrString(connection_.get(), method));
  PyObject* const loop = event_loop().self();
  if (argument == nullptr) py_check(PyObject_CallMethod(loop, "call_soon", "O", bound.get()));
  else py_check(PyObject_CallMethod(loop, "call_soon", "OO", bound.get(), argument));
}

void TornadoRequest::call(const char* method) noexcept {
  if (!PyRef::steal(PyObject_CallMethod(connection_.get(), method, nullptr)))
    PyErr_WriteUnraisable(connection_.get());
}

// Null where it is None.
PyRef TornadoRequest::attribute(const char* name) const noexcept {
  PyRef value = PyRef::steal(PyObject_GetAttrString(connection_.get(), name));
  if (!value) PyErr_Clear();
  return value.get() == Py_None ? PyRef() : value;
}

void* request(wsgi_request* request, uwsgi_app* application) noexcept {
  RequestThread* const thread = RequestThread::current();
  try {
    if (thread == nullptr)
      python::raise(PyExc_RuntimeError, "a Tornado application needs a worker started with --tornado");
    auto* const environ = static_cast<PyObject*>(request->async_environ);
    set_current_environ(environ);  // uWSGI takes it out again.
    thread->limits().read_variables(*request, environ);
    TornadoRequest(*thread, *request, callable_of(*application)).serve();
    return none().release();
  } catch (const PyError&) {
    uwsgi_manage_exception(request, uwsgi.catch_exceptions);
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    uwsgi_manage_exception(request, uwsgi.catch_exceptions);
  }
  return nullptr;
}

int response(wsgi_request* request) noexcept {
  Py_DECREF(static_cast<PyObject*>(request->async_result));
  request->async_result = nullptr;
  return UWSGI_OK;
}

}  // namespace

void serve_tornado_applications() { serve_interface({"tornado", "Tornado", request, response}); }

}  // namespace engine
