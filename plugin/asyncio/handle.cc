#include "plugin/asyncio/handle.h"

#include <cmath>
#include <new>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/event_loop.h"
#include "plugin/python/except_clause.h"

namespace python {
namespace {

PyTypeObject* handle_type_ = nullptr;
PyTypeObject* timer_handle_type_ = nullptr;

Handle& self_of(PyObject* object) noexcept { return *reinterpret_cast<Handle*>(object); }

PyObject* none_if_null(const PyRef& ref) noexcept {
  return PyRef::borrow(ref ? ref.get() : Py_None).release();
}

// --- Memory ---------------------------------------------------------------------------------

// Memory of handles that died, for those to come. The GIL protects it.
class FreeList {
 public:
  void* take() noexcept { return count_ > 0 ? blocks_[--count_] : nullptr; }
  bool keep(void* block) noexcept {
    if (count_ == kMost) return false;
    blocks_[count_++] = block;
    return true;
  }

 private:
  static constexpr std::size_t kMost = 512;
  void* blocks_[kMost];
  std::size_t count_ = 0;
};

// Both types have the same size, but one may have been given more room before the object.
FreeList free_handles;
FreeList free_timer_handles;

FreeList& free_list_of(PyTypeObject* type) noexcept {
  return type == timer_handle_type_ ? free_timer_handles : free_handles;
}

// Not tracked by the garbage collector yet.
Handle* allocate(PyTypeObject* type) {
  Handle* handle;
  if (void* block = free_list_of(type).take()) {
    handle = reinterpret_cast<Handle*>(PyObject_Init(static_cast<PyObject*>(block), type));
  } else {
    handle = PyObject_GC_New(Handle, type);
    if (handle == nullptr) throw PyError{};
    for (void*& slot : handle->inherited) slot = nullptr;
  }
  new (&handle->state) HandleState();
  ++live_handles;
  return handle;
}

void handle_dealloc(PyObject* self) noexcept {
  PyObject_GC_UnTrack(self);
  PyObject_ClearWeakRefs(self);
  self_of(self).state.~HandleState();
  --live_handles;
  PyTypeObject* type = Py_TYPE(self);
  const PyRef owned_type = PyRef::steal(reinterpret_cast<PyObject*>(type));
  if (!free_list_of(type).keep(self)) type->tp_free(self);
}

int handle_traverse(PyObject* self, visitproc visit, void* arg) noexcept {
  const HandleState& state = self_of(self).state;
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(state.loop.get());
  Py_VISIT(state.context.get());
  Py_VISIT(state.callback.get());
  for (const PyRef& argument : state.args) Py_VISIT(argument.get());
  Py_VISIT(state.source_traceback.get());
  Py_VISIT(state.when_object.get());
  return 0;
}

int handle_clear(PyObject* self) noexcept {
  self_of(self).drop();
  return 0;
}

// --- Python's view --------------------------------------------------------------------------

// The stack of the code that schedules the callback, in debug mode.
PyRef stack_of_caller() {
  PyRef frame = PyRef::borrow(reinterpret_cast<PyObject*>(PyEval_GetFrame()));
  if (!frame) return {};
  return py_check(PyObject_CallMethod(asyncio_names().format_helpers, "extract_stack", "O", frame.get()));
}

void keep_as_tuple(HandleState& state, PyRef tuple) {
  state.packed = true;
  state.args[0] = std::move(tuple);
}

void fill(HandleState& state, PyObject* loop, const Call& call) {
  state.loop = PyRef::borrow(loop);
  state.context = call.context == nullptr ? py_check(PyContext_CopyCurrent()) : PyRef::borrow(call.context);
  state.callback = PyRef::borrow(call.callback);
  state.count = call.count;
  if (call.count <= HandleState::kInPlace) {
    for (std::size_t i = 0; i < call.count; ++i) state.args[i] = PyRef::borrow(call.args[i]);
    return;
  }
  PyRef tuple = py_check(PyTuple_New(static_cast<Py_ssize_t>(call.count)));
  for (std::size_t i = 0; i < call.count; ++i) {
    PyTuple_SET_ITEM(tuple.get(), static_cast<Py_ssize_t>(i), PyRef::borrow(call.args[i]).release());
  }
  keep_as_tuple(state, std::move(tuple));
}

bool is_in_debug_mode(const HandleState& state) {
  if (state.core != nullptr) return state.core->debug();
  const PyRef debug = py_check(PyObject_CallMethod(state.loop.get(), "get_debug", nullptr));
  const int is = PyObject_IsTrue(debug.get());
  py_check_status(is);
  return is != 0;
}

// Handle(callback, args, loop, context=None) and TimerHandle(when, ...): loops make handles
// without; asyncio's tests and loops in Python do it so.
PyObject* handle_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    static const char* const names[] = {"when", "callback", "args", "loop", "context", nullptr};
    PyObject *when = nullptr, *callback, *arguments, *loop, *context = Py_None;
    const bool timer = type == timer_handle_type_;
    auto** keywords = const_cast<char**>(timer ? names : names + 1);
    const int parsed = timer ? PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO|O", keywords, &when, &callback,
                                                           &arguments, &loop, &context)
                             : PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|O", keywords, &callback,
                                                           &arguments, &loop, &context);
    if (!parsed) throw PyError{};
    const PyRef items = py_check(PySequence_Tuple(arguments));
    Handle* handle = allocate(type);
    PyRef ref = PyRef::steal(handle->object());
    PyObject_GC_Track(ref.get());
    fill(handle->state, loop, {callback, nullptr, 0, context == Py_None ? nullptr : context});
    keep_as_tuple(handle->state, items);
    handle->state.core = EventLoop::of(loop);
    if (timer) {
      handle->state.when = PyFloat_AsDouble(when);
      if (PyErr_Occurred()) throw PyError{};
      handle->state.when_object = PyRef::borrow(when);
    }
    if (is_in_debug_mode(handle->state)) handle->state.source_traceback = stack_of_caller();
    return ref;
  });
}

// What asyncio's __init__ would do is done.
int handle_init(PyObject*, PyObject*, PyObject*) noexcept { return 0; }

PyObject* handle_cancel(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    self_of(self).cancel();
    return none();
  });
}

PyObject* handle_cancelled(PyObject* self, PyObject*) noexcept {
  return PyBool_FromLong(self_of(self).state.cancelled);
}

PyObject* handle_run(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    self_of(self).run();
    return none();
  });
}

PyObject* handle_when(PyObject* self, PyObject*) noexcept {
  const HandleState& state = self_of(self).state;
  return state.when_object ? PyRef::borrow(state.when_object.get()).release()
                           : PyFloat_FromDouble(state.when);
}

PyObject* get_context(PyObject* self, PyObject*) noexcept {
  return none_if_null(self_of(self).state.context);
}

PyObject* read_callback(PyObject* self, void*) noexcept { return none_if_null(self_of(self).state.callback); }
PyObject* read_args(PyObject* self, void*) noexcept {
  return py_boundary([=] { return self_of(self).args_tuple(); });
}
PyObject* read_cancelled(PyObject* self, void*) noexcept { return handle_cancelled(self, nullptr); }
PyObject* read_loop(PyObject* self, void*) noexcept { return none_if_null(self_of(self).state.loop); }
PyObject* read_context(PyObject* self, void*) noexcept { return get_context(self, nullptr); }
PyObject* read_repr(PyObject* self, void*) noexcept { return none_if_null(self_of(self).state.repr); }
PyObject* read_source_traceback(PyObject* self, void*) noexcept {
  return none_if_null(self_of(self).state.source_traceback);
}
PyObject* read_when(PyObject* self, void*) noexcept { return handle_when(self, nullptr); }
PyObject* read_scheduled(PyObject* self, void*) noexcept {
  return PyBool_FromLong(self_of(self).state.scheduled_at != HandleState::kNotScheduled);
}

PyMethodDef timer_handle_methods[] = {
    {"when", handle_when, METH_NOARGS, "when($self, /)\n--\n\nThe time of the call, by loop.time()."},
    {"cancel", handle_cancel, METH_NOARGS, "cancel($self, /)\n--\n\nThe callback will not be called."},
    {"cancelled", handle_cancelled, METH_NOARGS, "cancelled($self, /)\n--\n\nTrue once cancel() was called."},
    {"get_context", get_context, METH_NOARGS,
     "get_context($self, /)\n--\n\n"
     "Returns the contextvars.Context of the call."},
    {"_run", handle_run, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyMethodDef* const handle_methods = timer_handle_methods + 1;

PyGetSetDef timer_handle_fields[] = {
    {"_when", read_when, nullptr, nullptr, nullptr},
    {"_scheduled", read_scheduled, nullptr, nullptr, nullptr},
    {"_callback", read_callback, nullptr, nullptr, nullptr},
    {"_args", read_args, nullptr, nullptr, nullptr},
    {"_cancelled", read_cancelled, nullptr, nullptr, nullptr},
    {"_loop", read_loop, nullptr, nullptr, nullptr},
    {"_context", read_context, nullptr, nullptr, nullptr},
    {"_repr", read_repr, nullptr, nullptr, nullptr},
    {"_source_traceback", read_source_traceback, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyGetSetDef* const handle_fields = timer_handle_fields + 2;

PyTypeObject* make_type(const char* name, PyMethodDef* methods, PyGetSetDef* fields, PyObject* asyncios) {
  const auto* base = reinterpret_cast<PyTypeObject*>(asyncios);
  if (base->tp_basicsize > static_cast<Py_ssize_t>(offsetof(Handle, state))) {
    raise(PyExc_ImportError, "uwsgi_tornado: %s of this Python has more fields than the engine knows",
          base->tp_name);
  }
  PyType_Slot slots[] = {
      {Py_tp_new, reinterpret_cast<void*>(handle_new)},
      {Py_tp_init, reinterpret_cast<void*>(handle_init)},
      {Py_tp_dealloc, reinterpret_cast<void*>(handle_dealloc)},
      {Py_tp_traverse, reinterpret_cast<void*>(handle_traverse)},
      {Py_tp_clear, reinterpret_cast<void*>(handle_clear)},
      {Py_tp_methods, methods},
      {Py_tp_getset, fields},
      {Py_tp_doc, const_cast<char*>("A callback that a loop will call unless cancel() is called first.")},
      {0, nullptr},
  };
  PyType_Spec spec = {name, sizeof(Handle), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots};
  const PyRef bases = py_check(PyTuple_Pack(1, asyncios));
  return reinterpret_cast<PyTypeObject*>(py_check(PyType_FromSpecWithBases(&spec, bases.get())).release());
}

void set_item(const PyRef& dict, const char* key, PyObject* value) {
  py_check_status(PyDict_SetItemString(dict.get(), key, value));
}

}  // namespace

PyTypeObject* handle_type() noexcept { return handle_type_; }
PyTypeObject* timer_handle_type() noexcept { return timer_handle_type_; }

void need_handle_types() {
  if (timer_handle_type_ != nullptr) return;
  const AsyncioNames& names = asyncio_names();
  handle_type_ = make_type("uwsgi_tornado.Handle", handle_methods, handle_fields, names.handle);
  timer_handle_type_ =
      make_type("uwsgi_tornado.TimerHandle", timer_handle_methods, timer_handle_fields, names.timer_handle);
}

PyRef new_handle(PyTypeObject* type, EventLoop& core, PyObject* loop, const Call& call) {
  Handle* handle = allocate(type);
  PyRef ref = PyRef::steal(handle->object());
  PyObject_GC_Track(ref.get());
  handle->state.core = &core;
  fill(handle->state, loop, call);
  if (core.debug()) handle->state.source_traceback = stack_of_caller();
  return ref;
}

void Handle::cancel() {
  if (state.cancelled) return;
  state.cancelled = true;
  const PyRef self = PyRef::borrow(object());  // The loop may have held the last reference.
  if (state.scheduled_at != HandleState::kNotScheduled) state.core->timers().remove(*this);
  else if (state.core == nullptr && Py_TYPE(object()) == timer_handle_type_ && state.loop) {
    py_check(PyObject_CallMethod(state.loop.get(), "_timer_handle_cancelled", "O", object()));
  }
  // For later log messages about it.
  if (state.loop && is_in_debug_mode(state)) state.repr = py_check(PyObject_Repr(object()));
  // Moved out first: what dies with them may look at this handle.
  const PyRef callback = std::move(state.callback);
  PyRef args[HandleState::kInPlace];
  for (std::size_t i = 0; i < HandleState::kInPlace; ++i) args[i] = std::move(state.args[i]);
  state.count = 0;
  state.packed = false;
}

void Handle::drop() noexcept {
  state.cancelled = true;
  state.count = 0;
  state.packed = false;
  state.loop = {};
  state.context = {};
  state.callback = {};
  for (PyRef& argument : state.args) argument = {};
  state.source_traceback = {};
  state.when_object = {};
}

PyRef Handle::args_tuple() const {
  if (state.cancelled && !state.callback) return none();
  if (state.packed) return state.args[0];
  PyRef tuple = py_check(PyTuple_New(static_cast<Py_ssize_t>(state.count)));
  for (std::size_t i = 0; i < state.count; ++i) {
    PyTuple_SET_ITEM(tuple.get(), static_cast<Py_ssize_t>(i), PyRef(state.args[i]).release());
  }
  return tuple;
}

// Calls the callback in its context. It may cancel this handle meanwhile, so what the call
// needs is owned here.
PyObject* Handle::call() noexcept {
  const PyRef callback = state.callback ? state.callback : none();
  const PyRef context = state.context;
  const bool packed = state.packed;
  const std::size_t count = state.count;
  PyRef args[HandleState::kInPlace];
  PyObject* in_place[1 + HandleState::kInPlace] = {};
  for (std::size_t i = 0; i < (packed ? 1 : count); ++i) {
    args[i] = state.args[i];
    in_place[1 + i] = args[i].get();
  }

  if (!PyContext_CheckExact(context.get())) {  // Whatever has a run() will do, as in asyncio.
    return py_boundary([&] {
      const PyRef run = py_check(PyObject_GetAttrString(context.get(), "run"));
      const PyRef bound =
          py_check(PyObject_CallFunctionObjArgs(asyncio_names().partial, run.get(), callback.get(), nullptr));
      return py_check(PyObject_CallObject(bound.get(), args_tuple().get()));
    });
  }
  if (PyContext_Enter(context.get()) < 0) return nullptr;
  PyObject* result =
      packed ? PyObject_CallObject(callback.get(), args[0].get())
             : vectorcall(callback.get(), in_place + 1, count | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
  if (PyContext_Exit(context.get()) < 0) {
    PyRef::steal(result);
    return nullptr;
  }
  return result;
}

void Handle::run() {
  if (!PyRef::steal(call())) report_error();
}

void Handle::report_error() {
  if (PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
    throw PyError{};
  const PyRef exception = take_exception();
  const ExceptClause handled(exception);
  const PyRef args = args_tuple();
  const PyRef source =
      py_check(PyObject_CallMethod(asyncio_names().format_helpers, "_format_callback_source", "OO",
                                   state.callback ? state.callback.get() : Py_None, args.get()));
  const PyRef message = py_check(PyUnicode_FromFormat("Exception in callback %U", source.get()));
  const PyRef context = py_check(PyDict_New());
  set_item(context, "message", message.get());
  set_item(context, "exception", exception.get());
  set_item(context, "handle", object());
  if (state.source_traceback) set_item(context, "source_traceback", state.source_traceback.get());
  py_check(PyObject_CallMethod(state.loop.get(), "call_exception_handler", "O", context.get()));
}

}  // namespace python
