#include "plugin/fetch/response.h"

#include <structmember.h>

#include <new>
#include <string>
#include <vector>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/await.h"
#include "plugin/fetch/errors.h"
#include "plugin/fetch/fiber_wait.h"
#include "plugin/http/client.h"
#include "plugin/python/static_type.h"
#include "plugin/python/virtual_thread.h"

namespace python {
namespace {

constexpr int kFirstErrorStatus = 400;

// The head, and where the body is or comes from.
class ResponseState final : public http::TransferObserver {
 public:
  explicit ResponseState(const http::Transfer& transfer)
      : status(transfer.status()),
        reason(transfer.reason()),
        http_version(transfer.http_version()),
        effective_url(transfer.effective_url()),
        header_lines(transfer.header_lines()),
        timings(transfer.timings()) {}
  ~ResponseState() { drop_transfer(); }

  void stream(std::unique_ptr<http::Transfer> transfer, PyObject* loop) {
    transfer_ = std::move(transfer);
    transfer_->observe(this);
    loop_ = PyRef::borrow(loop);
    streamed_ = true;
  }
  bool streamed() const noexcept { return streamed_; }

  // The next chunk, or null at the end. Suspends the request. Throws PyError.
  PyRef next_chunk(VirtualThread& thread) {
    while (true) {
      if (PyRef chunk = chunk_that_came()) return chunk;
      if (over()) return PyRef();
      need_to_be_alone();
      fiber_.wait(thread);
    }
  }

  // An asyncio future of the next chunk; StopAsyncIteration at the end.
  PyRef next_chunk_async() {
    if (get_running_loop().get() != loop_.get())
      raise(PyExc_RuntimeError, "this response belongs to another event loop than the running one");
    need_to_be_alone();
    PyRef future = py_check(PyObject_CallMethod(loop_.get(), "create_future", nullptr));
    chunk_future_ = future;
    settle_chunk();
    return future;
  }

  void progressed(http::Transfer&) noexcept override {
    if (fiber_.waiting()) return fiber_.wake();  // Which may be the end of this.
    try {
      settle_chunk();
    } catch (const PyError&) {
      PyErr_WriteUnraisable(nullptr);
    }
  }

  // A waiter for a chunk gets the end.
  void close() noexcept {
    drop_transfer();
    fiber_.wake_soon();
    try {
      settle_chunk();
    } catch (const PyError&) {
      PyErr_WriteUnraisable(nullptr);
    }
  }

  int traverse(visitproc visit, void* arg) const noexcept {
    for (const PyRef* ref : {&body, &headers, &loop_, &chunk_future_}) Py_VISIT(ref->get());
    return 0;
  }
  void clear() noexcept {
    drop_transfer();
    for (PyRef* ref : {&body, &headers, &loop_, &chunk_future_}) *ref = PyRef();
  }

  const int status;
  const std::string reason;
  const std::string http_version;
  const std::string effective_url;
  const std::vector<std::string> header_lines;
  const http::Timings timings;
  PyRef body;
  PyRef headers;

 private:
  void drop_transfer() noexcept { http::Client::destroy(std::exchange(transfer_, nullptr)); }

  void need_to_be_alone() {
    forget_given_up_future();
    if (fiber_.waiting() || chunk_future_)
      raise(PyExc_RuntimeError, "another caller already waits for the next chunk of this response");
  }

  PyRef chunk_that_came() {
    if (!transfer_ || !transfer_->body_has_come()) return PyRef();
    const std::string chunk = transfer_->take_body();
    return py_check(PyBytes_FromStringAndSize(chunk.data(), static_cast<Py_ssize_t>(chunk.size())));
  }

  // True at the end of the body. Throws PyError where it broke off.
  bool over() {
    if (!transfer_) return true;
    if (!transfer_->done()) return false;
    const std::unique_ptr<http::Transfer> ended = std::move(transfer_);
    if (ended->result() != CURLE_OK) raise_exception(error_of(*ended, nullptr));
    return true;
  }

  // The next caller gets the next chunk.
  void forget_given_up_future() {
    if (chunk_future_ && is_true(py_check(PyObject_CallMethod(chunk_future_.get(), "done", nullptr))))
      chunk_future_ = PyRef();
  }

  void settle_chunk() {
    forget_given_up_future();
    if (!chunk_future_) return;
    PyRef error;
    PyRef chunk;
    try {
      chunk = chunk_that_came();
      if (!chunk && !over()) return;
    } catch (const PyError&) {
      error = take_exception();
    }
    const PyRef future = std::move(chunk_future_);
    if (chunk) {
      py_check(PyObject_CallMethod(future.get(), "set_result", "(O)", chunk.get()));
      return;
    }
    const bool ended = !error;
    if (ended) error = PyRef::borrow(PyExc_StopAsyncIteration);
    py_check(PyObject_CallMethod(future.get(), "set_exception", "O", error.get()));
    // Keeps asyncio from logging an exception that nobody retrieved.
    if (ended) py_check_status(PyObject_SetAttrString(future.get(), "_log_traceback", Py_False));
  }

  std::unique_ptr<http::Transfer> transfer_;  // Of a stream, until its end.
  FiberWait fiber_;
  PyRef loop_;
  PyRef chunk_future_;
  bool streamed_ = false;
};

struct Response {
  PyObject_HEAD ResponseState* state;
};

ResponseState& state_of(PyObject* self) noexcept { return *reinterpret_cast<Response*>(self)->state; }

PyRef new_response(const http::Transfer& transfer) {
  auto* const type = reinterpret_cast<PyTypeObject*>(response_type());
  PyRef self = py_check(type->tp_alloc(type, 0));
  reinterpret_cast<Response*>(self.get())->state = new ResponseState(transfer);
  return self;
}

PyRef latin1(const std::string& text) {
  return py_check(PyUnicode_DecodeLatin1(text.data(), static_cast<Py_ssize_t>(text.size()), nullptr));
}

// --- Attributes -----------------------------------------------------------------------------------

PyObject* get_status(PyObject* self, void*) noexcept { return PyLong_FromLong(state_of(self).status); }
PyObject* get_reason(PyObject* self, void*) noexcept {
  return py_boundary([=] { return latin1(state_of(self).reason); });
}
PyObject* get_http_version(PyObject* self, void*) noexcept {
  return py_boundary([=] { return latin1(state_of(self).http_version); });
}
PyObject* get_effective_url(PyObject* self, void*) noexcept {
  return py_boundary([=] {
    const std::string& url = state_of(self).effective_url;
    return py_check(PyUnicode_DecodeUTF8(url.data(), static_cast<Py_ssize_t>(url.size()), "replace"));
  });
}

PyRef make_headers(const std::vector<std::string>& lines) {
  PyRef headers = py_check(PyObject_CallObject(imported("http.client", "HTTPMessage").get(), nullptr));
  for (const std::string& line : lines) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::size_t value = line.find_first_not_of(" \t", colon + 1);
    // As parsers do: repeats are kept, and a name that is none is not refused (CPython 3.14's `headers[name]
    // =` does).
    py_check(PyObject_CallMethod(headers.get(), "set_raw", "OO", latin1(line.substr(0, colon)).get(),
                                 latin1(value == std::string::npos ? "" : line.substr(value)).get()));
  }
  return headers;
}

PyObject* get_headers(PyObject* self, void*) noexcept {
  return py_boundary([=] {
    ResponseState& state = state_of(self);
    if (!state.headers) state.headers = make_headers(state.header_lines);
    return state.headers;
  });
}

PyObject* get_body(PyObject* self, void*) noexcept {
  return py_boundary([=] { return state_of(self).body ? state_of(self).body : none(); });
}

PyObject* get_timings(PyObject* self, void*) noexcept {
  const http::Timings& t = state_of(self).timings;
  return Py_BuildValue("{s:d,s:d,s:d,s:d,s:d,s:d,s:d}", "namelookup", t.namelookup, "connect", t.connect,
                       "appconnect", t.appconnect, "pretransfer", t.pretransfer, "starttransfer",
                       t.starttransfer, "total", t.total, "redirect", t.redirect);
}

PyGetSetDef attributes[] = {
    {"status", get_status, nullptr, "The status, a number.", nullptr},
    {"reason", get_reason, nullptr, "The reason phrase; empty over HTTP/2.", nullptr},
    {"http_version", get_http_version, nullptr, "'1.0', '1.1' or '2'.", nullptr},
    {"effective_url", get_effective_url, nullptr, "The URL of the response, after redirects.", nullptr},
    {"headers", get_headers, nullptr,
     "An http.client.HTTPMessage: a mapping whose names ignore case. get_all(name) returns all headers\n"
     "of a name.",
     nullptr},
    {"body", get_body, nullptr, "The body as bytes; None if it is streamed.", nullptr},
    {"timings", get_timings, nullptr,
     "A dict of seconds since the start, with libcurl's names: namelookup, connect, appconnect,\n"
     "pretransfer, starttransfer, total, redirect. For a streamed response they end at its headers.",
     nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

// --- The stream -----------------------------------------------------------------------------------

void need_stream(PyObject* self) {
  if (!state_of(self).streamed())
    raise(PyExc_TypeError, "this response is complete, in its `body`: use stream=True to iterate");
}

PyObject* iter(PyObject* self) noexcept {
  return py_boundary([=] {
    need_stream(self);
    return PyRef::borrow(self);
  });
}

// The type's slot: nothing without an error is the end.
PyObject* next(PyObject* self) noexcept {
  return py_boundary([=] { return state_of(self).next_chunk(waiting_thread("next")); });
}

PyObject* async_next(PyObject* self) noexcept {
  return py_boundary([=] { return state_of(self).next_chunk_async(); });
}

PyObject* close(PyObject* self, PyObject*) noexcept {
  state_of(self).close();
  return none().release();
}

PyObject* enter(PyObject* self, PyObject*) noexcept { return PyRef::borrow(self).release(); }

// An asyncio future that is done: what an async method without a wait gives.
PyRef done_future(PyObject* result) {
  const PyRef loop = py_check(PyObject_CallObject(imported("asyncio", "get_running_loop").get(), nullptr));
  PyRef future = py_check(PyObject_CallMethod(loop.get(), "create_future", nullptr));
  py_check(PyObject_CallMethod(future.get(), "set_result", "(O)", result));
  return future;
}

PyObject* async_enter(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] { return done_future(self); });
}

PyObject* async_exit(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    state_of(self).close();
    return done_future(Py_None);
  });
}

PyMethodDef methods[] = {
    {"close", close, METH_NOARGS,
     "close($self, /)\n--\n\n"
     "Ends a streamed response early and closes its connection. Otherwise it does nothing."},
    {"__enter__", enter, METH_NOARGS, nullptr},
    {"__exit__", close, METH_VARARGS, nullptr},
    {"__aenter__", async_enter, METH_NOARGS, nullptr},
    {"__aexit__", async_exit, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyAsyncMethods async_methods = [] {
  PyAsyncMethods m = {};
  m.am_aiter = iter;
  m.am_anext = async_next;
  return m;
}();

// --- The type -------------------------------------------------------------------------------------

PyObject* repr(PyObject* self) noexcept {
  return py_boundary([=] {
    const ResponseState& state = state_of(self);
    return py_check(
        PyUnicode_FromFormat("<uwsgi_tornado.Response [%d] %s>", state.status, state.effective_url.c_str()));
  });
}

int traverse(PyObject* self, visitproc visit, void* arg) noexcept {
  return reinterpret_cast<Response*>(self)->state == nullptr ? 0 : state_of(self).traverse(visit, arg);
}

int clear(PyObject* self) noexcept {
  if (reinterpret_cast<Response*>(self)->state != nullptr) state_of(self).clear();
  return 0;
}

// Calls Python, so it comes before anything of a cycle is cleared.
void finalize(PyObject* self) noexcept {
  const ErrorAside error;
  if (reinterpret_cast<Response*>(self)->state != nullptr) state_of(self).close();
}

void dealloc(PyObject* self) noexcept {
  if (PyObject_CallFinalizerFromDealloc(self) < 0) return;  // Somebody has it again.
  PyObject_GC_UnTrack(self);
  delete reinterpret_cast<Response*>(self)->state;
  Py_TYPE(self)->tp_free(self);
}

constexpr char kDoc[] =
    "The result of fetch(). With stream=True, iterate over it for the chunks of the body (`async for`\n"
    "in async code). Leaving a `with` block or close() ends it early.";

}  // namespace

PyObject* response_type() {
  return reinterpret_cast<PyObject*>(static_type<Response>("uwsgi_tornado.Response", [](PyTypeObject& t) {
    t.tp_doc = kDoc;
    t.tp_getset = attributes;
    t.tp_methods = methods;
    t.tp_iter = iter;
    t.tp_iternext = next;
    t.tp_as_async = &async_methods;
    t.tp_repr = repr;
    t.tp_traverse = traverse;
    t.tp_clear = clear;
    t.tp_finalize = finalize;
    t.tp_dealloc = dealloc;
  }));
}

PyRef make_response(http::Transfer& transfer) {
  PyRef response = new_response(transfer);
  const std::string body = transfer.take_body();
  state_of(response.get()).body =
      py_check(PyBytes_FromStringAndSize(body.data(), static_cast<Py_ssize_t>(body.size())));
  return response;
}

PyRef make_streamed_response(std::unique_ptr<http::Transfer> transfer, PyObject* loop) {
  PyRef response = new_response(*transfer);
  state_of(response.get()).stream(std::move(transfer), loop);
  return response;
}

PyRef status_error(PyObject* response) {
  const ResponseState& state = state_of(response);
  if (state.status < kFirstErrorStatus) return PyRef();
  return make_http_error(http_error_type(), state.status, state.reason.empty() ? "an error" : state.reason,
                         response, 0);
}

}  // namespace python
