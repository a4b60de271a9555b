#include "plugin/fetch/async_fetch.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "plugin/fetch/errors.h"
#include "plugin/fetch/response.h"
#include "plugin/http/client.h"
#include "plugin/python/python_source.h"
#include "plugin/python/static_type.h"

namespace python {
namespace {

// Of a request's body: a writer waits while that much is not sent.
constexpr std::size_t kUnsentMax = 256 << 10;

bool is_done(const PyRef& future) {
  return is_true(py_check(PyObject_CallMethod(future.get(), "done", nullptr)));
}

// Sets the result of a future, unless the future was cancelled.
void settle(const PyRef& future, const char* method, PyObject* value) {
  if (!is_done(future)) py_check(PyObject_CallMethod(future.get(), method, "(O)", value));
}

class AsyncFetch final : public http::TransferObserver {
 public:
  AsyncFetch(PyObject* self, PyObject* event_loop, loop::IoLoop& io, FetchCall call,
             const FetchCallbacks& callbacks)
      : self_(self),
        event_loop_(PyRef::borrow(event_loop)),
        header_(PyRef::borrow(callbacks.header)),
        chunk_(PyRef::borrow(callbacks.chunk)),
        body_chunks_(std::move(call.body_chunks)),
        raises_(call.raise_error),
        streamed_(call.request.streamed && callbacks.chunk == nullptr) {
    call.request.keeps_header_lines = callbacks.header != nullptr;
    call.request.streamed = call.request.streamed || callbacks.chunk != nullptr;
    transfer_ = std::make_unique<http::Transfer>(http::Client::of(io), std::move(call.request));
  }
  ~AsyncFetch() { http::Client::destroy(std::move(transfer_)); }

  void start() {
    future_ = py_check(PyObject_CallMethod(event_loop_.get(), "create_future", nullptr));
    const PyRef ended = py_check(PyObject_GetAttrString(self_, "_future_done"));
    py_check(PyObject_CallMethod(future_.get(), "add_done_callback", "O", ended.get()));
    transfer_->observe(this);
    transfer_->start();
    kept_ = PyRef::borrow(self_);
  }

  // What Python does in a step may wait for a lock, and turn the loop, which comes by here again.
  void progressed(http::Transfer&) noexcept override {
    came_meanwhile_ = true;
    if (std::exchange(in_step_, true)) return;
    const PyRef alive = PyRef::borrow(self_);
    try {
      while (transfer_ && std::exchange(came_meanwhile_, false)) step();
    } catch (const PyError&) {
      fail();
    }
    in_step_ = false;
  }

  // Its future is never done, as with all futures of that loop.
  void loop_ended(http::Transfer&) noexcept override {
    const PyRef alive = PyRef::borrow(self_);
    clear();
    const PyRef kept = std::move(kept_);
  }

  // --- The request's body, from Python ------------------------------------------------------------

  // A future that is done once there is room for more.
  PyRef write(PyObject* chunk) {
    if (!transfer_ || transfer_->done())
      raise(PyExc_ConnectionError, "the fetch is over: its server wants no more of the body");
    if (!transfer_->request().body_is_given_later)
      raise(PyExc_RuntimeError, "this fetch has its body already");
    with_bytes(chunk, [this](const char* data, std::size_t size) { transfer_->give_body(data, size); });
    PyRef written = py_check(PyObject_CallMethod(event_loop_.get(), "create_future", nullptr));
    if (transfer_->body_waiting() <= kUnsentMax)
      py_check(PyObject_CallMethod(written.get(), "set_result", "O", Py_None));
    else writers_.push_back(written);
    return written;
  }
  void finish_body() {
    if (transfer_) transfer_->end_body();
  }
  // Ends it with this exception.
  void abort(PyObject* exception) {
    const PyRef future = future_;
    end();
    if (future) settle(future, "set_exception", exception);
  }

  // The future is done: by us, or given up.
  void future_done() noexcept { end(); }

  const PyRef& future() const noexcept { return future_; }

  int traverse(visitproc visit, void* arg) const noexcept {
    // Not kept_: while the transfer is under way, that is the loop's reference.
    for (const PyRef* ref : {&event_loop_, &future_, &header_, &chunk_, &body_chunks_}) Py_VISIT(ref->get());
    for (const PyRef& writer : writers_) Py_VISIT(writer.get());
    return 0;
  }
  void clear() noexcept {
    http::Client::destroy(std::move(transfer_));
    for (PyRef* ref : {&event_loop_, &future_, &header_, &chunk_, &body_chunks_}) *ref = PyRef();
    writers_.clear();
  }

 private:
  void step() {
    if (header_) {
      for (const std::string& line : transfer_->take_raw_header_lines()) call_with_bytes(header_, line);
    }
    if (chunk_ && transfer_ && transfer_->body_has_come()) call_with_bytes(chunk_, transfer_->take_body());
    if (!transfer_) return;  // A callback gave it up.
    if (transfer_->done()) return finish();
    feed();
    let_writers_go_on();
    if (streamed_ && transfer_ && transfer_->has_head() && transfer_->body_is_whole()) answer(nullptr);
  }

  void call_with_bytes(const PyRef& function, const std::string& text) {
    const PyRef bytes =
        py_check(PyBytes_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size())));
    py_check(PyObject_CallFunctionObjArgs(function.get(), bytes.get(), nullptr));
  }

  void feed() {
    while (body_chunks_ && transfer_ && transfer_->body_waiting() <= kUnsentMax) {
      const PyRef chunks = body_chunks_;
      const PyRef chunk = PyRef::steal(PyIter_Next(chunks.get()));
      if (!chunk && PyErr_Occurred()) throw PyError{};
      if (!transfer_) return;
      if (!chunk) {
        body_chunks_ = PyRef();
        transfer_->end_body();
        return;
      }
      with_bytes(chunk.get(),
                 [this](const char* data, std::size_t size) { transfer_->give_body(data, size); });
      if (!transfer_->wants_body()) return;
    }
  }

  void let_writers_go_on() {
    if (!transfer_ || transfer_->body_waiting() > kUnsentMax) return;
    for (const PyRef& writer : std::exchange(writers_, {})) settle(writer, "set_result", Py_None);
  }

  void finish() {
    if (transfer_->result() == CURLE_OK) return answer(nullptr);
    const PyRef error =
        error_of(*transfer_, transfer_->has_head() ? make_response(*transfer_).get() : nullptr);
    answer(error.get());
  }

  void answer(PyObject* error) {
    const PyRef future = future_;
    PyRef response;
    PyRef failure = PyRef::borrow(error);
    if (!failure) {
      response = streamed_ ? make_streamed_response(std::move(transfer_), event_loop_.get())
                           : make_response(*transfer_);
      if (raises_) failure = status_error(response.get());
    }
    end();
    if (failure) settle(future, "set_exception", failure.get());
    else settle(future, "set_result", response.get());
  }

  // With an error pending.
  void fail() noexcept {
    const PyRef error = take_exception();
    try {
      abort(error.get());
    } catch (const PyError&) {
      PyErr_WriteUnraisable(future_.get());
    }
  }

  // Nobody is kept any more: neither the transfer nor this.
  void end() noexcept {
    http::Client::destroy(std::move(transfer_));
    body_chunks_ = PyRef();
    for (const PyRef& writer : std::exchange(writers_, {})) {
      if (!PyRef::steal(PyObject_CallMethod(writer.get(), "cancel", nullptr)))
        PyErr_WriteUnraisable(writer.get());
    }
    const PyRef kept = std::move(kept_);
  }

  PyObject* const self_;
  PyRef event_loop_;
  PyRef future_;
  PyRef header_;
  PyRef chunk_;
  PyRef body_chunks_;
  std::vector<PyRef> writers_;
  PyRef kept_;  // This object, while the transfer is under way.
  bool in_step_ = false;
  bool came_meanwhile_ = false;  // Since the step began.
  const bool raises_;
  const bool streamed_;
  std::unique_ptr<http::Transfer> transfer_;
};

// --- The Python object ----------------------------------------------------------------------------

struct AsyncFetchObject {
  PyObject_HEAD AsyncFetch* fetch;
};

AsyncFetch& fetch_of(PyObject* self) noexcept { return *reinterpret_cast<AsyncFetchObject*>(self)->fetch; }

PyObject* write(PyObject* self, PyObject* chunk) noexcept {
  return py_boundary([=] { return fetch_of(self).write(chunk); });
}

PyObject* finish(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] { fetch_of(self).finish_body(); });
}

PyObject* abort_with(PyObject* self, PyObject* exception) noexcept {
  return py_boundary([=] { fetch_of(self).abort(exception); });
}

PyObject* future_done(PyObject* self, PyObject*) noexcept {
  fetch_of(self).future_done();
  return none().release();
}

PyObject* get_future(PyObject* self, void*) noexcept {
  return py_boundary([=] { return future_of_fetch(self); });
}

PyMethodDef methods[] = {
    {"write", write, METH_O,
     "write(chunk)\n--\n\nSends more of the request's body. Returns a future that is done once there is room "
     "for more."},
    {"finish", finish, METH_NOARGS, "finish()\n--\n\nEnds the request's body."},
    {"abort", abort_with, METH_O,
     "abort(exception)\n--\n\nEnds the transfer; its future raises the exception."},
    {"_future_done", future_done, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef attributes[] = {
    {"future", get_future, nullptr, "The asyncio future of the Response.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

int traverse(PyObject* self, visitproc visit, void* arg) noexcept {
  return reinterpret_cast<AsyncFetchObject*>(self)->fetch == nullptr ? 0
                                                                     : fetch_of(self).traverse(visit, arg);
}

int clear(PyObject* self) noexcept {
  if (reinterpret_cast<AsyncFetchObject*>(self)->fetch != nullptr) fetch_of(self).clear();
  return 0;
}

void dealloc(PyObject* self) noexcept {
  PyObject_GC_UnTrack(self);
  delete reinterpret_cast<AsyncFetchObject*>(self)->fetch;
  Py_TYPE(self)->tp_free(self);
}

// An async iterable is read by a task of its own, which ends with the fetch.
constexpr char kFeed[] = R"(
import asyncio

async def read(fetch, chunks):
    try:
        async for chunk in chunks:
            await fetch.write(chunk)
        fetch.finish()
    except asyncio.CancelledError:
        fetch.future.cancel()
        raise
    except Exception as error:
        fetch.abort(error)

def feed(fetch, chunks, loop):
    task = loop.create_task(read(fetch, chunks))
    fetch.future.add_done_callback(lambda future: task.cancel())
)";

void feed_from(const PyRef& fetch, const PyRef& chunks, PyObject* event_loop) {
  static PyObject* const feed = from_python_source(kFeed, "uwsgi_tornado.feed", "feed").release();
  py_check(PyObject_CallFunctionObjArgs(feed, fetch.get(), chunks.get(), event_loop, nullptr));
}

}  // namespace

PyObject* async_fetch_type() {
  return reinterpret_cast<PyObject*>(
      static_type<AsyncFetchObject>("uwsgi_tornado.AsyncFetch", [](PyTypeObject& t) {
        t.tp_doc = "A fetch in progress.";
        t.tp_methods = methods;
        t.tp_getset = attributes;
        t.tp_traverse = traverse;
        t.tp_clear = clear;
        t.tp_dealloc = dealloc;
      }));
}

PyRef start_async_fetch(PyObject* event_loop, loop::IoLoop& io, FetchCall call,
                        const FetchCallbacks& callbacks) {
  auto* const type = reinterpret_cast<PyTypeObject*>(async_fetch_type());
  const PyRef async_chunks = std::move(call.body_async_chunks);
  PyRef self = py_check(type->tp_alloc(type, 0));
  auto* const object = reinterpret_cast<AsyncFetchObject*>(self.get());
  object->fetch = new AsyncFetch(self.get(), event_loop, io, std::move(call), callbacks);
  fetch_of(self.get()).start();
  if (async_chunks) feed_from(self, async_chunks, event_loop);
  return self;
}

PyRef future_of_fetch(PyObject* fetch) noexcept { return fetch_of(fetch).future(); }

}  // namespace python
