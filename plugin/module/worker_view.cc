#include "plugin/module/worker_view.h"

namespace python {
namespace {

WorkerView* view = nullptr;

PyObject* fibers(PyObject*, PyObject*) noexcept {
  return py_boundary([] { return view == nullptr ? py_check(PyList_New(0)) : view->fibers(); });
}

PyObject* dump(PyObject*, PyObject*) noexcept {
  return py_boundary([] { return view == nullptr ? py_check(PyUnicode_FromString("")) : view->dump(); });
}

}  // namespace

void set_worker_view(WorkerView* given) noexcept { view = given; }

PyMethodDef worker_view_methods[] = {
    {"fibers", fibers, METH_NOARGS,
     "fibers()\n--\n\n"
     "What runs or waits in this worker, as a list of dicts:\n"
     "  core      the number of the core; None for a function of spawn() and the like\n"
     "  method, uri, client  of the request; None outside one\n"
     "  age       seconds since the request came, its header on the way included, or the function began\n"
     "  state     'runs', 'waits', or 'gave way' when it computes and it is the others' turn\n"
     "  waits_for 'read', 'write', 'poll', 'sleep', 'lock', 'future', 'fetch', a call that a helper thread\n"
     "            makes ('getaddrinfo'), ...; None unless it waits\n"
     "  fd, peer  the descriptor waited for and the other end of its connection; None where there is none\n"
     "  since     seconds it has waited, or has run\n"
     "  switches  times it has been resumed\n"
     "  stack     bytes of its stack in use so far\n\n"
     "Empty outside a worker. Costs some microseconds for each."},
    {"dump", dump, METH_NOARGS,
     "dump()\n--\n\n"
     "The same as text, each with its Python stack. In the log: SIGUSR2 to the worker."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace python
