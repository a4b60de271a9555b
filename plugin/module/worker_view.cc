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
     "Returns what runs or waits in this worker, as a list of dicts:\n"
     "  core      the number of the core; None for a function of spawn() and the like\n"
     "  method, uri, client  of the request; None outside one\n"
     "  age       seconds since the request arrived (including its header) or the function began\n"
     "  state     'runs', 'waits', or 'gave way' if it computes and waits for its next turn\n"
     "  waits_for 'read', 'write', 'poll', 'sleep', 'lock', 'future', 'fetch', the name of a call that a\n"
     "            helper thread makes ('getaddrinfo'), ...; None unless it waits\n"
     "  fd, peer  the descriptor it waits for and the other end of that connection; None if there is none\n"
     "  since     seconds it has waited, or has run\n"
     "  switches  times it has been resumed\n"
     "  stack     bytes of its stack used so far\n\n"
     "The list is empty outside a worker. Costs some microseconds for each entry."},
    {"dump", dump, METH_NOARGS,
     "dump()\n--\n\n"
     "Returns what fibers() does as text, with the Python stack of each. SIGUSR2 to the worker writes\n"
     "the same to the log."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace python
