// The type greenlet.greenlet.
#include <Python.h>
#include <frameobject.h>
#include <structmember.h>

#include <cstddef>
#include <utility>

#include "plugin/greenlet/greenlet.h"
#include "plugin/python/python_compat.h"
#include "plugin/python/state_fields.h"
#include "plugin/python/static_type.h"
#include "plugin/python/thread_state.h"

namespace python {
namespace {

Greenlet* greenlet_of(PyObject* object) noexcept { return reinterpret_cast<Greenlet*>(object); }

template <typename T>
void assign(T** field, PyRef value) noexcept {
  const auto before = PyRef::steal(reinterpret_cast<PyObject*>(*field));
  *field = reinterpret_cast<T*>(value.release());
}

// A setter's body: true, or false with an error set.
template <typename Body>
int setting(Body body) noexcept {
  try {
    body();
    return 0;
  } catch (const PyError&) {
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return -1;
}

void refuse_deletion(PyObject* value, const char* sentence) {
  if (value == nullptr) raise(PyExc_AttributeError, sentence);
}

// --- switch() and throw() ---------------------------------------------------------------------

PyRef tuple_of(PyObject* const* items, Py_ssize_t count) {
  PyRef tuple = py_check(PyTuple_New(count));
  for (Py_ssize_t i = 0; i < count; ++i) PyTuple_SET_ITEM(tuple.get(), i, PyRef::borrow(items[i]).release());
  return tuple;
}

PyRef dict_of(PyObject* names, PyObject* const* values) {
  if (names == nullptr) return PyRef();
  PyRef dict = py_check(PyDict_New());
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); ++i) {
    py_check_status(PyDict_SetItem(dict.get(), PyTuple_GET_ITEM(names, i), values[i]));
  }
  return dict;
}

PyObject* greenlet_switch(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) noexcept {
  return py_boundary([=] {
    GreenletThread& thread = GreenletThread::current();
    assign(&greenlet_of(self)->args, tuple_of(args, count));
    assign(&greenlet_of(self)->kwargs, dict_of(names, args + count));
    const PyRef kept = PyRef::borrow(self);
    return thread.go(greenlet_of(self));
  });
}

// As `raise type, value, traceback` would have it.
void set_exception(PyObject* type, PyObject* value, PyObject* traceback) {
  if (traceback == Py_None) traceback = nullptr;
  if (traceback != nullptr && !PyTraceBack_Check(traceback)) {
    raise(PyExc_TypeError, "throw() third argument must be a traceback object");
  }
  if (PyExceptionClass_Check(type)) {
    PyObject* t = PyRef::borrow(type).release();
    PyObject* v = PyRef::borrow(value).release();
    PyObject* tb = PyRef::borrow(traceback).release();
    PyErr_NormalizeException(&t, &v, &tb);
    PyErr_Restore(t, v, tb);
  } else if (PyExceptionInstance_Check(type)) {
    if (value != nullptr && value != Py_None) {
      raise(PyExc_TypeError, "instance exception may not have a separate value");
    }
    PyErr_Restore(PyRef::borrow(PyExceptionInstance_Class(type)).release(), PyRef::borrow(type).release(),
                  PyRef::borrow(traceback).release());
  } else {
    raise(PyExc_TypeError, "exceptions must be classes, or instances, not %s", Py_TYPE(type)->tp_name);
  }
}

// What throwing the pending exception into a dead greenlet gives its parent: GreenletExit is a
// result there.
void exit_as_result(Greenlet* greenlet) noexcept {
  if (!PyErr_ExceptionMatches(greenlet_exit())) return;
  assign(&greenlet->args, take_exception());
}

PyObject* greenlet_throw(PyObject* self, PyObject* args) noexcept {
  return py_boundary([=] {
    PyObject* type = greenlet_exit();
    PyObject* value = nullptr;
    PyObject* traceback = nullptr;
    if (!PyArg_ParseTuple(args, "|OOO:throw", &type, &value, &traceback)) throw PyError{};
    GreenletThread& thread = GreenletThread::current();
    Greenlet* const greenlet = greenlet_of(self);
    const PyRef kept = PyRef::borrow(self);
    set_exception(type, value, traceback);
    assign(&greenlet->args, PyRef());
    assign(&greenlet->kwargs, PyRef());
    if (greenlet->phase == Greenlet::Phase::kDead) exit_as_result(greenlet);
    return thread.go(greenlet);
  });
}

// --- Birth and death --------------------------------------------------------------------------

PyObject* greenlet_new(PyTypeObject* type, PyObject*, PyObject*) noexcept {
  return py_boundary([=] {
    static PyObject* const nothing = PyTuple_New(0);
    GreenletThread& thread = GreenletThread::current();
    PyRef self = py_check(PyBaseObject_Type.tp_new(type, nothing, nullptr));  // Refuses abstract classes.
    greenlet_of(self.get())->parent = greenlet_of(PyRef::borrow(as_object(thread.running())).release());
    return self;
  });
}

void set_run(Greenlet* self, PyObject* run) {
  if (self->is_main) raise(PyExc_AttributeError, "Main greenlets do not have a run attribute.");
  if (self->phase != Greenlet::Phase::kNew) {
    raise(PyExc_AttributeError, "run cannot be set after the start of the greenlet");
  }
  assign(&self->run, PyRef::borrow(run));
}

void set_parent(Greenlet* self, PyObject* value) {
  refuse_deletion(value, "can't delete attribute");
  if (self->is_main) raise(PyExc_AttributeError, "cannot set the parent of a main greenlet");
  if (!PyObject_TypeCheck(value, greenlet_type())) {
    raise(PyExc_TypeError, "GreenletChecker: Expected any type of greenlet, not %s", Py_TYPE(value)->tp_name);
  }
  for (const Greenlet* parent = greenlet_of(value); parent != nullptr; parent = parent->parent) {
    if (parent == self) raise(PyExc_ValueError, "cyclic parent chain");
  }
  const GreenletThread* const thread = GreenletThread::owner_of(greenlet_of(value));
  if (thread == nullptr) raise(PyExc_ValueError, "parent must not be garbage collected");
  if (self->thread != nullptr && self->thread != thread) {
    raise(PyExc_ValueError, "parent cannot be on a different thread");
  }
  assign(&self->parent, PyRef::borrow(value));
}

int greenlet_init(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return setting([=] {
    PyObject* run = nullptr;
    PyObject* parent = nullptr;
    parse_arguments(args, kwargs, "|OO:green", {"run", "parent"}, &run, &parent);
    if (run != nullptr) set_run(greenlet_of(self), run);
    if (parent != nullptr && parent != Py_None) set_parent(greenlet_of(self), parent);
  });
}

int greenlet_traverse(PyObject* self, visitproc visit, void* arg) noexcept {
  Greenlet* const greenlet = greenlet_of(self);
  Py_VISIT(greenlet->dict);
  Py_VISIT(as_object(greenlet->parent));
  Py_VISIT(greenlet->run);
  Py_VISIT(greenlet->context);
  Py_VISIT(greenlet->args);
  Py_VISIT(greenlet->kwargs);
  return 0;
}

int greenlet_clear(PyObject* self) noexcept {
  Greenlet* const greenlet = greenlet_of(self);
  Py_CLEAR(greenlet->dict);
  Py_CLEAR(greenlet->parent);
  Py_CLEAR(greenlet->run);
  Py_CLEAR(greenlet->context);
  Py_CLEAR(greenlet->args);
  Py_CLEAR(greenlet->kwargs);
  return 0;
}

// The collector leaves alone what stands somewhere: its frames hold references that are nowhere
// to be seen.
int greenlet_is_gc(PyObject* self) noexcept {
  const Greenlet* const greenlet = greenlet_of(self);
  return greenlet->is_main || !greenlet->active();
}

// Ends an active greenlet without references, here or, in another thread, later.
void end_in_place(Greenlet* greenlet) noexcept {
  GreenletThread* const thread = greenlet->thread;
  if (!thread->alive()) return;
  const ErrorAside error;
  if (python_is_finalizing()) {
    Py_INCREF(greenlet);
  } else if (GreenletThread::current_or_null() == thread) {
    const NoPreemption in_the_middle_of_anything;
    thread->kill(greenlet);
    if (greenlet->active() && Py_REFCNT(greenlet) == 1) {
      PySys_WriteStderr("GreenletExit did not kill %.200s object at %p\n", Py_TYPE(greenlet)->tp_name,
                        static_cast<void*>(greenlet));
      Py_INCREF(greenlet);  // Its frames live on.
    }
  } else {
    try {
      thread->kill_later(greenlet);
    } catch (const std::bad_alloc&) {
      Py_INCREF(greenlet);
    }
  }
}

void greenlet_dealloc(PyObject* self) noexcept {
  Greenlet* const greenlet = greenlet_of(self);
  PyObject_GC_UnTrack(self);
  if (greenlet->active() && !greenlet->is_main) {
    Py_SET_REFCNT(self, 1);
    end_in_place(greenlet);
    Py_SET_REFCNT(self, Py_REFCNT(self) - 1);
    if (Py_REFCNT(self) > 0) {  // Somebody refers to it again.
      if (PyType_HasFeature(Py_TYPE(self), Py_TPFLAGS_HEAPTYPE)) Py_INCREF(Py_TYPE(self));
      PyObject_GC_Track(self);
      return;
    }
  }
  if (greenlet->weak_references != nullptr) PyObject_ClearWeakRefs(self);
  greenlet_clear(self);
  if (GreenletThread* const thread = std::exchange(greenlet->thread, nullptr)) thread->let_go();
  Py_TYPE(self)->tp_free(self);
}

// --- Attributes -------------------------------------------------------------------------------

int greenlet_bool(PyObject* self) noexcept { return greenlet_of(self)->active(); }

bool is_dead(const Greenlet* greenlet) noexcept {
  if (greenlet->phase == Greenlet::Phase::kDead || greenlet->lost()) return true;
  return greenlet->thread != nullptr && !greenlet->thread->alive();
}

PyObject* get_dead(PyObject* self, void*) noexcept { return PyBool_FromLong(is_dead(greenlet_of(self))); }

PyObject* get_dict(PyObject* self, void*) noexcept {
  return py_boundary([=] {
    Greenlet* const greenlet = greenlet_of(self);
    if (greenlet->dict == nullptr) greenlet->dict = py_check(PyDict_New()).release();
    return PyRef::borrow(greenlet->dict);
  });
}

int set_dict(PyObject* self, PyObject* value, void*) noexcept {
  return setting([=] {
    if (value == nullptr) raise(PyExc_TypeError, "__dict__ may not be deleted");
    if (!PyDict_Check(value)) raise(PyExc_TypeError, "__dict__ must be a dictionary");
    assign(&greenlet_of(self)->dict, PyRef::borrow(value));
  });
}

PyObject* get_run(PyObject* self, void*) noexcept {
  return py_boundary([=] {
    Greenlet* const greenlet = greenlet_of(self);
    if (greenlet->is_main) raise(PyExc_AttributeError, "Main greenlets do not have a run attribute.");
    if (greenlet->phase != Greenlet::Phase::kNew || greenlet->run == nullptr)
      raise(PyExc_AttributeError, "run");
    return PyRef::borrow(greenlet->run);
  });
}

int set_run_attribute(PyObject* self, PyObject* value, void*) noexcept {
  return setting([=] { set_run(greenlet_of(self), value); });
}

PyObject* get_parent(PyObject* self, void*) noexcept {
  Greenlet* const parent = greenlet_of(self)->parent;
  return PyRef::borrow(parent != nullptr ? as_object(parent) : Py_None).release();
}

int set_parent_attribute(PyObject* self, PyObject* value, void*) noexcept {
  return setting([=] { set_parent(greenlet_of(self), value); });
}

bool runs(const Greenlet* greenlet) noexcept {
  return greenlet->thread != nullptr && greenlet->thread->running() == greenlet;
}

// Where a greenlet stands; of one that runs, its own code knows best.
PyObject* get_frame(PyObject* self, void*) noexcept {
  Greenlet* const greenlet = greenlet_of(self);
  PyObject* frame = nullptr;
  if (greenlet->active() && greenlet->thread->alive() && !runs(greenlet)) {
    frame = reinterpret_cast<PyObject*>(PyThreadState_GetFrame(greenlet->state));
  }
  return frame != nullptr ? frame : none().release();
}

// The state that has the greenlet's context; null where the greenlet has it itself.
// `refusal` is for one that runs in another thread.
PyThreadState* state_of(Greenlet* greenlet, const char* refusal) {
  if (!greenlet->active() || !greenlet->thread->alive()) return nullptr;
  if (!runs(greenlet)) return greenlet->state;
  if (GreenletThread::current_or_null() != greenlet->thread) raise(PyExc_ValueError, refusal);
  return PyThreadState_Get();
}

PyObject* get_context(PyObject* self, void*) noexcept {
  return py_boundary([=] {
    Greenlet* const greenlet = greenlet_of(self);
    PyThreadState* const state =
        state_of(greenlet, "cannot get context of a greenlet that is running in a different thread");
    PyObject* const context = state != nullptr ? context_of(state) : greenlet->context;
    return PyRef::borrow(context != nullptr ? context : Py_None);
  });
}

int set_context(PyObject* self, PyObject* value, void*) noexcept {
  return setting([=] {
    refuse_deletion(value, "can't delete context attribute");
    if (value != Py_None && !PyContext_CheckExact(value)) {
      raise(PyExc_TypeError, "greenlet context must be a contextvars.Context or None");
    }
    Greenlet* const greenlet = greenlet_of(self);
    PyThreadState* const state =
        state_of(greenlet, "cannot set context of a greenlet that is running in a different thread");
    PyRef context = value == Py_None ? PyRef() : PyRef::borrow(value);
    if (state == nullptr) assign(&greenlet->context, std::move(context));
    else const auto before = PyRef::steal(exchange_context(state, context.release()));
  });
}

PyObject* get_stack_saved(PyObject*, void*) noexcept {
  return PyLong_FromLong(0);
}  // Stacks stay where they are.

PyObject* refuse_state(PyObject* self, PyObject*) noexcept {
  PyErr_Format(PyExc_TypeError, "cannot serialize '%s' object", Py_TYPE(self)->tp_name);
  return nullptr;
}

PyObject* greenlet_repr(PyObject* self) noexcept {
  Greenlet* const greenlet = greenlet_of(self);
  const char* const name = Py_TYPE(self)->tp_name;
  void* const at = self;
  void* const thread = greenlet->thread;
  if (is_dead(greenlet)) {
    const bool exited = greenlet->thread != nullptr && !greenlet->thread->alive();
    return PyUnicode_FromFormat("<%s object at %p (otid=%p) %sdead>", name, at, thread,
                                exited ? "(thread exited) " : "");
  }
  const bool started = greenlet->phase == Greenlet::Phase::kActive;
  const bool is_current = runs(greenlet) && GreenletThread::current_or_null() == greenlet->thread;
  return PyUnicode_FromFormat("<%s object at %p (otid=%p)%s%s%s%s>", name, at, thread,
                              is_current ? " current"
                              : started  ? " suspended"
                                         : "",
                              started ? " active" : "", started ? " started" : " pending",
                              greenlet->is_main ? " main" : "");
}

constexpr char kSwitchDoc[] =
    "switch(*args, **kwargs)\n\n"
    "Switches to this greenlet: starts it with run(*args, **kwargs), or resumes it; its own switch()\n"
    "then returns the arguments. A dead greenlet passes them to its parent. Returns the arguments\n"
    "of the switch that comes back.\n\n"
    "If the greenlet is the parent of the request's main greenlet, this suspends the request until\n"
    "other code switches to one of the request's greenlets.";

constexpr char kThrowDoc[] =
    "throw(type=GreenletExit, value=None, traceback=None)\n\n"
    "Switches to this greenlet and raises the exception there.";

PyMethodDef methods[] = {
    {"switch", as_method(greenlet_switch), METH_FASTCALL | METH_KEYWORDS, kSwitchDoc},
    {"throw", greenlet_throw, METH_VARARGS, kThrowDoc},
    {"__getstate__", refuse_state, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef fields[] = {
    {"__dict__", get_dict, set_dict, nullptr, nullptr},
    {"run", get_run, set_run_attribute, nullptr, nullptr},
    {"parent", get_parent, set_parent_attribute, nullptr, nullptr},
    {"gr_frame", get_frame, nullptr, nullptr, nullptr},
    {"gr_context", get_context, set_context, nullptr, nullptr},
    {"dead", get_dead, nullptr, nullptr, nullptr},
    {"_stack_saved", get_stack_saved, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyNumberMethods as_number = [] {
  PyNumberMethods m{};
  m.nb_bool = greenlet_bool;
  return m;
}();

}  // namespace

PyTypeObject* greenlet_type() {
  return static_type<Greenlet>("greenlet.greenlet", [](PyTypeObject& t) {
    t.tp_flags |= Py_TPFLAGS_BASETYPE;
    t.tp_doc =
        "greenlet(run=None, parent=None)\n--\n\n"
        "A greenlet that will run `run`; its parent, the running greenlet where none is given, is\n"
        "where it goes to when that returns.";
    t.tp_dealloc = greenlet_dealloc;
    t.tp_repr = greenlet_repr;
    t.tp_as_number = &as_number;
    t.tp_traverse = greenlet_traverse;
    t.tp_clear = greenlet_clear;
    t.tp_weaklistoffset = offsetof(Greenlet, weak_references);
    t.tp_methods = methods;
    t.tp_getset = fields;
    t.tp_dictoffset = offsetof(Greenlet, dict);
    t.tp_init = greenlet_init;
    t.tp_alloc = PyType_GenericAlloc;
    t.tp_new = greenlet_new;
    t.tp_free = PyObject_GC_Del;
    t.tp_is_gc = greenlet_is_gc;
  });
}

}  // namespace python
