#include "plugin/asgi/connection.h"

#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <optional>
#include <utility>

#include "plugin/asgi/gathering.h"
#include "plugin/asgi/message.h"
#include "plugin/asgi/operation.h"
#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/event_loop.h"
#include "plugin/asyncio/worker_loop.h"
#include "plugin/blocking/gate.h"
#include "plugin/blocking/wait.h"
#include "plugin/python/interruption.h"
#include "plugin/python/static_type.h"
#include "plugin/uwsgi/options.h"
#include "plugin/uwsgi/python_bridge.h"

namespace asgi {
namespace {

using python::py_boundary;
using python::py_check;
using python::py_check_status;
using python::PyError;
using python::PyRef;
using python::raise;

// What a cancelled application has to end in.
constexpr double kCleanUpS = 5;

// asyncio keeps no task alive: these go on without their request.
std::vector<PyRef>& beside_requests() noexcept {
  static std::vector<PyRef> tasks;
  return tasks;
}

// --- The Python object ----------------------------------------------------------------------

struct ConnectionObject {
  PyObject_HEAD Connection* connection;
};

void dealloc(PyObject* self) noexcept {
  delete reinterpret_cast<ConnectionObject*>(self)->connection;
  Py_TYPE(self)->tp_free(self);
}

PyTypeObject* connection_type() {
  return python::static_type<ConnectionObject>("uwsgi_tornado._AsgiConnection",
                                               [](PyTypeObject& t) { t.tp_dealloc = dealloc; });
}

PyObject* receive_function(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] { return receive_operation(self); });
}

PyObject* send_function(PyObject* self, PyObject* message) noexcept {
  return py_boundary([=] { return send_operation(self, message); });
}

PyMethodDef receive_method = {"receive", receive_function, METH_NOARGS,
                              "receive()\n--\n\nReturns an awaitable of the client's next message."};
PyMethodDef send_method = {"send", send_function, METH_O,
                           "send(message)\n--\n\nReturns an awaitable that sends a message to the client."};

// Makes asyncio.Task(coroutine, loop=loop, name=path), or a task by the loop's task factory.
PyRef make_task(PyObject* coroutine, PyObject* event_loop, const PyRef& path) {
  const PyRef factory = py_check(PyObject_GetAttr(event_loop, ASGI_NAME("_task_factory")));
  if (factory.get() != Py_None)
    return py_check(PyObject_CallMethod(event_loop, "create_task", "O", coroutine));
  // The worker has one loop.
  static PyObject* const options = py_check(Py_BuildValue("{s:O}", "loop", event_loop)).release();
  // asyncio would count the tasks and print their numbers.
  py_check_status(PyDict_SetItem(options, ASGI_NAME("name"), path.get()));
  const PyRef args = py_check(PyTuple_Pack(1, coroutine));
  return py_check(PyObject_Call(python::asyncio_names().task, args.get(), options));
}

// While one lives, the current context is one of its own.
class FreshContext {
 public:
  FreshContext() : context_(py_check(PyContext_New())) { py_check_status(PyContext_Enter(context_.get())); }
  ~FreshContext() {
    const python::ErrorAside error;
    if (PyContext_Exit(context_.get()) < 0) PyErr_Clear();
  }
  FreshContext(const FreshContext&) = delete;
  FreshContext& operator=(const FreshContext&) = delete;

 private:
  PyRef context_;
};

}  // namespace

PyRef Connection::give(std::unique_ptr<Connection> connection) {
  PyRef object = py_check(PyType_GenericAlloc(connection_type(), 0));
  reinterpret_cast<ConnectionObject*>(object.get())->connection = connection.release();
  return object;
}

Connection& Connection::of(PyObject* object) noexcept {
  return *reinterpret_cast<ConnectionObject*>(object)->connection;
}

Connection::Connection(engine::RequestThread& thread) noexcept
    : thread_(&thread),
      loop_(thread.loop()),
      client_(loop_, {[](void* self) noexcept { static_cast<Connection*>(self)->on_client_gone(); }, this}) {}

Connection::~Connection() = default;

Connection::File::~File() {
  if (fd_ >= 0) close(fd_);
}

// --- The fiber -------------------------------------------------------------------------------

void Connection::serve(const PyRef& self, PyObject* application) {
  self_ = self.get();
  application_ = application;
  thread_->set_application(this);
  // What is thrown here is answered by the core; the application finds its connection gone.
  struct Detached {
    Connection& connection;
    ~Detached() {
      const python::ErrorAside error;
      connection.detach();
    }
  } const detached{*this};
  if (engine::options().client_disconnect) watched_ = true;  // By the limits of the request.
  thread_->call_when_left(
      {[](void* connection) noexcept { static_cast<Connection*>(connection)->start(); }, this});
  std::optional<python::Shielded> shielded;
  for (;;) {
    if (!shielded && thread_->task().interruption().begun()) {
      shielded.emplace(*thread_);
      cancel_application();
    }
    look();
    write_outputs();
    if (answered() || ended_ || given_up_) break;
    wait();
  }
  finish(exception_);
}

void Connection::write_outputs() {
  while (write_next()) {
    if (unwritten_ <= kMostUnwritten) wake(senders_);
  }
}

// False when there is nothing.
bool Connection::write_next() {
  if (outputs_.empty()) {
    if (gathered_.empty()) return false;
    const std::string gathered = std::exchange(gathered_, {});
    if (!gone_ && !write_gathered(gathered)) lost();
    unwritten_ -= gathered.size();
    return true;
  }
  Output output = std::move(outputs_.front());
  outputs_.pop_front();
  if (!gone_ && !output.gathered.empty() && !write_gathered(output.gathered)) lost();
  if (!gone_ && !write(output)) lost();
  unwritten_ -= output.size;
  return true;
}

void Connection::wait() {
  suspend::Baton baton(thread_->fiber(), waits_for(), suspend::Abort::kAllowed);
  baton_ = &baton;
  const bool cancelled = !give_up_.is_never();
  const double seconds = looks_in_s();
  const loop::Deadline deadline = cancelled ? give_up_ : loop::Deadline::after_or_never(seconds);
  blocking::wait(baton, deadline);
  baton_ = nullptr;
  given_up_ = give_up_.passed();
}

// The request is interrupted: by its deadline, its client's leaving, the worker's end.
void Connection::cancel_application() noexcept {
  give_up_ = loop::Deadline::after(kCleanUpS);
  if (thread_->limits().ended_by() == engine::EndedBy::kClientGone) lost();
  if (!task_ || ended_) return;
  if (!PyRef::steal(PyObject_CallMethodObjArgs(task_.get(), ASGI_NAME("cancel"), nullptr))) PyErr_Clear();
}

void Connection::detach() noexcept {
  client_.stop();
  thread_->set_application(nullptr);
  thread_ = nullptr;
  gone_ = true;
  outputs_.clear();
  gathered_.clear();
  unwritten_ = 0;
  wake(senders_);
  wake(receivers_);
  exception_ = {};
  if (!ended_ && task_) beside_requests().push_back(task_);
  else task_ = {};
  running_ = {};
}

void Connection::put(Output output) {
  output.size = output.data && PyBytes_Check(output.data.get())
                    ? static_cast<std::size_t>(PyBytes_GET_SIZE(output.data.get()))
                    : 0;
  unwritten_ += output.size;
  output.size += gathered_.size();
  output.gathered = std::exchange(gathered_, {});
  outputs_.push_back(std::move(output));
  notify();
}

void Connection::gather_from_now() noexcept {
  if (std::exchange(gathering_, true)) return;
  Gathering::begin(*this);
  Py_INCREF(self_);
  loop_.add_callback({[](void* object) noexcept {
                        const PyRef self = PyRef::steal(static_cast<PyObject*>(object));
                        Connection& connection = of(self.get());
                        connection.gathering_ = false;
                        Gathering::end(connection);
                        connection.send_gathered();
                      },
                      self_});
}

void Connection::added(std::size_t size) noexcept {
  unwritten_ += size;
  if (gathered_.size() >= kMostUnwritten) notify();
}

void Connection::notify() noexcept {
  if (baton_ == nullptr) return;
  const PyRef keep = PyRef::borrow(self_);
  baton_->post();  // The fiber runs here and now.
}

// --- The application, on the loop -------------------------------------------------------------

void Connection::start() noexcept {
  const PyRef keep = PyRef::borrow(self_);
  try {
    start_application();
  } catch (const PyError&) {
    application_ended(python::take_exception());
  }
}

// Its first step runs here and now, unless the loop is in the middle of another's.
void Connection::start_application() {
  python::WorkerLoop& worker = *python::WorkerLoop::instance();
  python::EventLoop& event_loop = *python::EventLoop::of(worker.event_loop());
  PyRef first_step;
  {
    const FreshContext context;
    const PyRef scope = make_scope();
    const PyRef path = PyRef::borrow(get(scope.get(), ASGI_NAME("path")));
    const PyRef receive = py_check(PyCFunction_New(&receive_method, self_));
    const PyRef send = py_check(PyCFunction_New(&send_method, self_));
    running_ = run_application(*this, self_, application_, scope.get(), receive.get(), send.get());
    if (!running_) return;
    task_ = make_task(running_.get(), worker.event_loop(), path);
    if (!event_loop.runs_callbacks()) first_step = event_loop.take_newest();
  }
  if (first_step) event_loop.run_now(std::move(first_step));
}

void Connection::application_ended(PyRef exception) noexcept {
  ended_ = true;
  if (thread_ != nullptr) {
    exception_ = std::move(exception);
    notify();
    return;
  }
  release_task();
  if (!exception) return;
  uwsgi_log("tornado: the application raised an exception after its response:\n");
  const PyRef type = PyRef::borrow(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())));
  PyErr_SetObject(type.get(), exception.get());
  engine::report_python_error();
}

// In the midst of its last step, so the loop has it still.
void Connection::release_task() noexcept {
  std::vector<PyRef>& tasks = beside_requests();
  const auto place =
      std::find_if(tasks.begin(), tasks.end(), [&](const PyRef& one) { return one.get() == task_.get(); });
  if (place != tasks.end()) tasks.erase(place);
  loop_.add_callback({[](void*) noexcept {}, nullptr});  // A worker that ends looks once a turn.
  task_ = {};
}

PyRef Connection::coroutine() const { return running_ ? coroutine_of(running_.get()) : PyRef(); }

// --- Who waits --------------------------------------------------------------------------------

void Connection::check_thread() const {
  if (!blocking::on_loop_thread()) {
    raise(PyExc_RuntimeError,
          "receive() and send() must be awaited on the worker's event loop, not in another thread");
  }
}

PyRef Connection::future_in(Futures& waiting) {
  // Those that were cancelled.
  waiting.erase(std::remove_if(waiting.begin(), waiting.end(),
                               [](const PyRef& one) {
                                 return python::is_true(python::call_method(one.get(), ASGI_NAME("done")));
                               }),
                waiting.end());
  PyRef future =
      python::call_method(python::WorkerLoop::instance()->event_loop(), ASGI_NAME("create_future"));
  waiting.push_back(future);
  return future;
}

void Connection::wake(Futures& waiting) noexcept {
  const Futures woken = std::exchange(waiting, {});
  for (const PyRef& future : woken) {
    try {
      if (!python::is_true(python::call_method(future.get(), ASGI_NAME("done"))))
        python::call_method(future.get(), ASGI_NAME("set_result"), Py_None);
    } catch (const PyError&) {
      PyErr_Clear();
    }
  }
}

// --- The client -------------------------------------------------------------------------------

void Connection::watch_client() noexcept {
  if (std::exchange(watched_, true) || thread_ == nullptr) return;
  client_.start(request().fd);
}

void Connection::on_client_gone() noexcept {
  lost();
  notify();
}

void Connection::lost() noexcept {
  if (std::exchange(gone_, true)) return;
  const python::ErrorAside error;
  wake(receivers_);
  wake(senders_);
}

void Connection::connection_lost() noexcept {
  client_.stop();
  lost();
}

int applications_beside_requests() noexcept { return static_cast<int>(beside_requests().size()); }

}  // namespace asgi
