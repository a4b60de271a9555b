#include "plugin/python/interruption.h"

#include <utility>

#include "plugin/blocking/identity.h"
#include "plugin/blocking/wait.h"
#include "plugin/python/virtual_thread.h"

namespace python {
namespace {

constexpr char kRequestInterruptedDoc[] =
    "The request is ended from outside while it waits. It is raised again at each wait until the\n"
    "request has ended; shield() postpones it. Like asyncio.CancelledError it is not a subclass of\n"
    "Exception.";
constexpr char kRequestTimeoutDoc[] = "The request took longer than --tornado-request-timeout.";
constexpr char kClientDisconnectedDoc[] = "The client of this request, or of its fetch, has disconnected.";

PyObject* make_type(const char* name, const char* doc, PyObject* base) {
  return py_check(PyErr_NewExceptionWithDoc(name, doc, base, nullptr)).release();
}

unsigned long ident_of(const VirtualThread& thread) noexcept {
  return static_cast<unsigned long>(thread.fiber().thread().id());
}

#if PY_VERSION_HEX >= 0x03090000
bool says_cancelled(PyObject* const* args, std::size_t count) noexcept {
  if (count < 1 || !PyLong_Check(args[0])) return false;
  const long number = PyLong_AsLong(args[0]);
  if (number == -1) PyErr_Clear();
  return number == blocking::kInterruptedErrno;
}

// As PyType_Type calls any class. Throws PyError.
PyRef make_as_always(PyObject* type, PyObject* const* args, std::size_t count, PyObject* names) {
  const PyRef tuple = py_check(PyTuple_New(static_cast<Py_ssize_t>(count)));
  for (std::size_t i = 0; i < count; ++i)
    PyTuple_SET_ITEM(tuple.get(), static_cast<Py_ssize_t>(i), PyRef::borrow(args[i]).release());
  PyRef options;
  if (names != nullptr) {
    options = py_check(PyDict_New());
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); ++i) {
      py_check_status(PyDict_SetItem(options.get(), PyTuple_GET_ITEM(names, i),
                                     args[count + static_cast<std::size_t>(i)]));
    }
  }
  return py_check(PyType_Type.tp_call(type, tuple.get(), options.get()));
}

// OSError(...). CPython raises the result of a call of the class, of whatever class it is
// (PyErr_SetFromErrno()), because OSError itself chooses a subclass by the errno.
PyObject* call_os_error(PyObject* type, PyObject* const* args, std::size_t count_and_flag,
                        PyObject* names) noexcept {
  return py_boundary([=] {
    const auto count = static_cast<std::size_t>(PyVectorcall_NARGS(count_and_flag));
    VirtualThread* const thread = interrupted_thread();
    if (thread != nullptr && says_cancelled(args, count)) return thread->task().interruption().make();
    return make_as_always(type, args, count, names);
  });
}
#endif

// Set by a thread that will run pending calls next, and cleared by the thread that runs them first.
bool lock_wait_is_interrupted = false;

int raise_in_lock_wait(void*) noexcept {
  if (!std::exchange(lock_wait_is_interrupted, false)) return 0;
  blocking::show_loop_thread(false);
  VirtualThread* const thread = interrupted_thread();
  if (thread == nullptr) return 0;
  thread->task().interruption().raise();
  return -1;
}

// --- os.fork() --------------------------------------------------------------------------------------

PyObject* before_fork(PyObject*, PyObject*) noexcept {
  if (VirtualThread* const thread = VirtualThread::current()) thread->task().interrupt().shield();
  return none().release();
}

PyObject* after_fork(PyObject*, PyObject*) noexcept {
  if (VirtualThread* const thread = VirtualThread::current()) thread->task().interrupt().unshield();
  return none().release();
}

PyMethodDef before_fork_method = {"uwsgi_tornado_before_fork", before_fork, METH_NOARGS, nullptr};
PyMethodDef after_fork_method = {"uwsgi_tornado_after_fork", after_fork, METH_NOARGS, nullptr};

}  // namespace

PyObject* request_interrupted_type() {
  static PyObject* const type =
      make_type("uwsgi_tornado.RequestInterrupted", kRequestInterruptedDoc, PyExc_BaseException);
  return type;
}

PyObject* request_timeout_type() {
  static PyObject* const type =
      make_type("uwsgi_tornado.RequestTimeout", kRequestTimeoutDoc, request_interrupted_type());
  return type;
}

PyObject* client_disconnected_type() {
  static PyObject* const type =
      make_type("uwsgi_tornado.ClientDisconnected", kClientDisconnectedDoc, request_interrupted_type());
  return type;
}

void Interruption::begin(VirtualThread& thread, PyObject* type, std::string message) noexcept {
  if (begun()) return;
  type_ = type;
  message_ = std::move(message);
  thread.task().interrupt().begin(thread.fiber());
}

void Interruption::end(VirtualThread& thread) noexcept {
  if (!begun()) return;
  type_ = nullptr;
  thread.task().interrupt().end();
  if (std::exchange(soon_, false)) PyThreadState_SetAsyncExc(ident_of(thread), nullptr);
}

PyRef Interruption::make() const { return py_check(PyObject_CallFunction(type_, "s", message_.c_str())); }

// Not by PyErr_SetString(), which io_errors.cc may have made a call of this one.
void Interruption::raise() const noexcept {
  if (PyObject* const text = PyUnicode_FromString(message_.c_str())) {
    PyErr_SetObject(type_, text);
    Py_DECREF(text);
  }
}

void Interruption::raise_soon(VirtualThread& thread) noexcept {
  soon_ = true;
  PyThreadState_SetAsyncExc(ident_of(thread), type_);
}

Shielded::Shielded(VirtualThread& thread) noexcept : thread_(thread) { thread_.task().interrupt().shield(); }
Shielded::~Shielded() { thread_.task().interrupt().unshield(); }

VirtualThread* interrupted_thread() noexcept {
  VirtualThread* const thread = VirtualThread::current();
  return thread != nullptr && thread->task().interrupt().in_force() ? thread : nullptr;
}

void raise_if_interrupted(VirtualThread& thread) {
  if (!thread.task().interrupt().in_force()) return;
  thread.task().interruption().raise();
  throw PyError{};
}

void raise_soon_if_interrupted(VirtualThread& thread) noexcept {
  if (!thread.task().interrupt().in_force()) return;
  thread.task().interruption().raise_soon(thread);
}

// The slot for calls, which classes derived from it do not inherit, as they would __new__'s; CPython
// 3.8 does not look at it.
void turn_cancelled_calls_into_interruptions() noexcept {
#if PY_VERSION_HEX >= 0x03090000
  reinterpret_cast<PyTypeObject*>(PyExc_OSError)->tp_vectorcall = call_os_error;
#endif
}

void shield_forks() {
  // Functions that take locks of their own run before ours: the one registered last is called first.
  for (const char* name : {"logging", "concurrent.futures.thread"}) py_check(PyImport_ImportModule(name));
  const PyRef register_calls = imported("os", "register_at_fork");
  const PyRef before = py_check(PyCFunction_New(&before_fork_method, nullptr));
  const PyRef after = py_check(PyCFunction_New(&after_fork_method, nullptr));
  const PyRef calls = py_check(Py_BuildValue("{s:O,s:O,s:O}", "before", before.get(), "after_in_parent",
                                             after.get(), "after_in_child", after.get()));
  const PyRef nothing = py_check(PyTuple_New(0));
  py_check(PyObject_Call(register_calls.get(), nothing.get(), calls.get()));
}

// CPython looks for signals and pending calls on its main thread alone; a real thread that waits for a
// lock goes on after EINTR. So this one is the main thread until the call below runs.
void interrupt_lock_wait() noexcept {
  // Where there is no room for one more, another look follows this wait's next end.
  lock_wait_is_interrupted = Py_AddPendingCall(raise_in_lock_wait, nullptr) == 0;
  blocking::show_loop_thread(lock_wait_is_interrupted);
}

}  // namespace python
