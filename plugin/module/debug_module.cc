#include "plugin/module/debug_module.h"

#ifdef UWSGI_TORNADO_DEBUG

#include "plugin/asyncio/event_loop.h"
#include "plugin/asyncio/transport.h"
#include "plugin/fetch/fetch_module.h"
#include "plugin/python/preemption.h"
#include "plugin/python/py_ref.h"
#include "plugin/python/static_type.h"

namespace python {
namespace {

// --- _live(): what is counted for leak checks --------------------------------------------------

PyObject* live(PyObject*, PyObject*) noexcept {
  return Py_BuildValue("{s:l,s:l,s:l,s:l,s:i,s:l}", "loops", live_event_loops, "handles", live_handles,
                       "transports", live_socket_transports, "references", live_references, "watchers",
                       loop::active_watchers, "transfers", live_transfers());
}

// --- _Host: a stand-in for the worker, that turns an IoLoop with an event loop attached ----------

class Host final : public loop::TurnObserver {
 public:
  Host() { io.observe(this); }

  void turning() noexcept override {}
  void falling_asleep() noexcept override { state_ = PyEval_SaveThread(); }
  void awake() noexcept override { PyEval_RestoreThread(state_); }

  static void on_exit() noexcept {
    exits.push_back(PyRef::borrow(PyErr_Occurred()));
    PyErr_Clear();
  }

  loop::IoLoop io;
  PyRef event_loop;
  static inline std::vector<PyRef> exits;

 private:
  PyThreadState* state_ = nullptr;
};

struct HostObject {
  PyObject_HEAD Host* host;
};

Host& host_of(PyObject* self) noexcept { return *reinterpret_cast<HostObject*>(self)->host; }
EventLoop& loop_of(PyObject* self) noexcept { return *EventLoop::of(host_of(self).event_loop.get()); }

PyObject* host_new(PyTypeObject* type, PyObject*, PyObject*) noexcept {
  return py_boundary([=] {
    PyRef self = py_check(type->tp_alloc(type, 0));
    reinterpret_cast<HostObject*>(self.get())->host = new Host();
    host_of(self.get()).event_loop = make_attached_event_loop(host_of(self.get()).io, &Host::on_exit);
    return self;
  });
}

// The Python object of the loop may outlive its host.
void host_dealloc(PyObject* self) noexcept {
  if (host_of(self).event_loop) {
    loop_of(self).set_closed(true);
    loop_of(self).close();
  }
  delete reinterpret_cast<HostObject*>(self)->host;
  Py_TYPE(self)->tp_free(self);
}

PyObject* host_begin(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    loop_of(self).begin_running();
    return none();
  });
}

PyObject* host_end(PyObject* self, PyObject*) noexcept {
  loop_of(self).end_running();
  return none().release();
}

PyObject* host_turn(PyObject* self, PyObject*) noexcept {
  host_of(self).io.turn();
  return none().release();
}

// The types of exceptions that ended callbacks and that no code handles; forgets them.
PyObject* host_exits(PyObject*, PyObject*) noexcept {
  return py_boundary([] {
    PyRef list = py_check(PyList_New(0));
    for (const PyRef& type : Host::exits) py_check_status(PyList_Append(list.get(), type.get()));
    Host::exits.clear();
    return list;
  });
}

PyObject* host_loop(PyObject* self, void*) noexcept { return PyRef(host_of(self).event_loop).release(); }

PyMethodDef host_methods[] = {
    {"begin", host_begin, METH_NOARGS, nullptr},
    {"end", host_end, METH_NOARGS, nullptr},
    {"turn", host_turn, METH_NOARGS, nullptr},
    {"exits", host_exits, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef host_fields[] = {
    {"loop", host_loop, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyTypeObject* host_type() {
  return static_type<HostObject>("uwsgi_tornado._Host", [](PyTypeObject& t) {
    t.tp_methods = host_methods;
    t.tp_getset = host_fields;
    t.tp_new = host_new;
    t.tp_dealloc = host_dealloc;
  });
}

PyObject* gil_locks(PyObject*, PyObject*) noexcept { return PyLong_FromUnsignedLongLong(gil_lock_count()); }

PyMethodDef functions[] = {
    {"_live", live, METH_NOARGS, nullptr},
    {"_gil_locks", gil_locks, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

void add_debug_names(PyObject* module) {
  py_check_status(PyModule_AddFunctions(module, functions));
  py_check_status(PyObject_SetAttrString(module, "_Host", reinterpret_cast<PyObject*>(host_type())));
}

}  // namespace python

#else

namespace python {

void add_debug_names(PyObject*) {}

}  // namespace python

#endif
