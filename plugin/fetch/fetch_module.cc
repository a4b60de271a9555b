#include "plugin/fetch/fetch_module.h"

#include <memory>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/await.h"
#include "plugin/asyncio/event_loop.h"
#include "plugin/asyncio/worker_loop.h"
#include "plugin/fetch/arguments.h"
#include "plugin/fetch/async_fetch.h"
#include "plugin/fetch/errors.h"
#include "plugin/fetch/fiber_wait.h"
#include "plugin/fetch/response.h"
#include "plugin/http/client.h"
#include "plugin/loop/peer_watch.h"

namespace python {
namespace {

// --- fetch(): in a request ------------------------------------------------------------------------

// On the request's own stack, from start to end.
class PlainFetch final : public http::TransferObserver {
 public:
  PlainFetch(VirtualThread& thread, WorkerLoop& worker, FetchCall call)
      : thread_(thread),
        worker_(worker),
        body_chunks_(std::move(call.body_chunks)),
        raises_(call.raise_error),
        client_(worker.io(), {[](void* fiber) noexcept { static_cast<FiberWait*>(fiber)->wake(); }, &fiber_}),
        transfer_(std::make_unique<http::Transfer>(http::Client::of(worker.io()), std::move(call.request))) {
    transfer_->observe(this);
    if (call.while_connected) client_.start(thread.client_fd());
  }

  PyRef run() {
    transfer_->start();
    const bool streamed = transfer_->request().streamed;
    while (!transfer_->done() && !(streamed && transfer_->has_head() && !body_chunks_)) {
      if (client_.is_gone()) raise(client_disconnected_type(), "the client of this request has disconnected");
      if (body_chunks_ && transfer_->wants_body()) feed();
      else fiber_.wait(thread_);
    }
    if (transfer_->done() && transfer_->result() != CURLE_OK) {
      raise_exception(
          error_of(*transfer_, transfer_->has_head() ? make_response(*transfer_).get() : nullptr));
    }
    PyRef response = streamed ? make_streamed_response(std::move(transfer_), worker_.event_loop())
                              : make_response(*transfer_);
    if (const PyRef error = raises_ ? status_error(response.get()) : PyRef()) raise_exception(error);
    return response;
  }

  void progressed(http::Transfer&) noexcept override { fiber_.wake(); }

 private:
  // The application's iterator may wait for whatever it likes.
  void feed() {
    const PyRef chunk = PyRef::steal(PyIter_Next(body_chunks_.get()));
    if (!chunk && PyErr_Occurred()) throw PyError{};
    if (chunk) {
      with_bytes(chunk.get(),
                 [this](const char* data, std::size_t size) { transfer_->give_body(data, size); });
    } else {
      body_chunks_ = PyRef();
      transfer_->end_body();
    }
  }

  VirtualThread& thread_;
  WorkerLoop& worker_;
  FiberWait fiber_;
  PyRef body_chunks_;
  const bool raises_;
  loop::PeerWatch client_;
  std::unique_ptr<http::Transfer> transfer_;
};

PyObject* fetch(PyObject*, PyObject* args, PyObject* kwargs) noexcept {
  return fetch_boundary([=] {
    VirtualThread& thread = waiting_thread("fetch");
    WorkerLoop& worker = running_worker_loop("fetch");
    FetchCall call = parse_fetch("fetch", args, kwargs);
    if (call.body_async_chunks) raise(PyExc_TypeError, "an async iterable for a body needs fetch_async()");
    return PlainFetch(thread, worker, std::move(call)).run();
  });
}

// --- fetch_async() --------------------------------------------------------------------------------

// The loop that runs here, else in a request the worker's.
PyRef loop_for_fetch() {
  PyRef running = get_running_loop();
  if (running.get() != Py_None) return running;
  WorkerLoop& worker = running_worker_loop("fetch_async");
  if (VirtualThread::current() == nullptr) {
    raise(PyExc_RuntimeError,
          "fetch_async() must be called in a request or where an event loop runs, not on another thread");
  }
  return PyRef::borrow(worker.event_loop());
}

// `loop` must be one of ours: libcurl's sockets are watched by its IoLoop.
loop::IoLoop& io_of(PyObject* loop) {
  EventLoop* const ours = EventLoop::of(loop);
  if (ours == nullptr)
    raise(PyExc_RuntimeError, "fetching needs the worker's event loop or a uwsgi_tornado.EventLoop");
  ours->check_closed();
  return ours->io();
}

PyObject* fetch_async(PyObject*, PyObject* args, PyObject* kwargs) noexcept {
  return fetch_boundary([=] {
    const PyRef loop = loop_for_fetch();
    loop::IoLoop& io = io_of(loop.get());
    FetchCall call = parse_fetch("fetch_async", args, kwargs);
    if (call.while_connected)
      raise(PyExc_TypeError,
            "while_connected works only with fetch(), because a future may outlive its request");
    return future_of_fetch(start_async_fetch(loop.get(), io, std::move(call), {nullptr, nullptr}).get());
  });
}

// For tornado_http_client.py: (event_loop, header, chunk, url, options) -> AsyncFetch.
PyObject* start_fetch(PyObject*, PyObject* args) noexcept {
  return fetch_boundary([=] {
    PyObject *loop, *header, *chunk, *url, *options;
    if (!PyArg_ParseTuple(args, "OOOOO!", &loop, &header, &chunk, &url, &PyDict_Type, &options))
      throw PyError{};
    loop::IoLoop& io = io_of(loop);
    FetchCall call = parse_fetch("fetch", py_check(PyTuple_Pack(1, url)).get(), options);
    const FetchCallbacks callbacks = {header == Py_None ? nullptr : header,
                                      chunk == Py_None ? nullptr : chunk};
    return start_async_fetch(loop, io, std::move(call), callbacks);
  });
}

// The options of both, as inspect.signature() tells them.
#define FETCH_OPTIONS                                                                                     \
  "method=None, headers=None, body=None, connect_timeout=20, request_timeout=20, stall_timeout=0, "       \
  "follow_redirects=True, max_redirects=5, max_body_size=104857600, max_header_size=65536, "              \
  "decompress=True, "                                                                                     \
  "accept_encoding=None, user_agent=None, username=None, password=None, auth_mode='basic', proxy=None, "  \
  "proxy_username=None, proxy_password=None, proxy_auth_mode='basic', verify=True, client_cert=None, "    \
  "client_key=None, ciphers=None, http_version=None, unix_socket=None, interface=None, allow_ipv6=True, " \
  "protocols=('http', 'https'), raise_error=True, stream=False, curl_options=None"

constexpr char kFetchDoc[] =
    "fetch($module, /, url, *, " FETCH_OPTIONS
    ", while_connected=False)\n--\n\n"
    "Fetches a URL over HTTP and returns a Response; only this request is suspended. docs/fetch.md\n"
    "describes the options. body: bytes, str (sent as UTF-8), a file, or an iterable of chunks; with a\n"
    "body the default method is POST. Timeouts are in seconds and sizes in bytes; 0 means no limit.\n"
    "None for an option means its default. With stream=True it returns once the headers are there;\n"
    "iterate over the Response for the body.\n\n"
    "Raises HTTPError if the status is 400 or more (unless raise_error=False) or no response came,\n"
    "HTTPTimeoutError if it took too long, with while_connected=True ClientDisconnected once the client\n"
    "of this request has disconnected, ValueError and TypeError for invalid arguments, and RuntimeError\n"
    "outside a worker and while an event loop runs (use fetch_async there).";

constexpr char kFetchAsyncDoc[] =
    "fetch_async($module, /, url, *, " FETCH_OPTIONS
    ")\n--\n\n"
    "Returns a future of the running event loop for what fetch() does, to await. In a request, the\n"
    "future is of the worker's loop, for await_() and gather_(). Cancelling it ends the transfer. body\n"
    "may also be an async iterable; a plain iterable is read on the event loop and must not wait. The\n"
    "future gets the errors that fetch() raises.\n\n"
    "Raises ValueError and TypeError at once for invalid arguments, and RuntimeError if the loop is\n"
    "neither the worker's nor a uwsgi_tornado.EventLoop.";

PyMethodDef functions[] = {
    {"fetch", as_method(fetch), METH_VARARGS | METH_KEYWORDS, kFetchDoc},
    {"fetch_async", as_method(fetch_async), METH_VARARGS | METH_KEYWORDS, kFetchAsyncDoc},
    {"_start_fetch", start_fetch, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

std::size_t fetches_in_flight(const loop::IoLoop& loop) noexcept {
  const auto* const client = loop.part<http::Client>();
  return client == nullptr ? 0 : client->in_flight();
}

#ifdef UWSGI_TORNADO_DEBUG
long live_transfers() noexcept { return http::live_transfers; }
#endif

void add_fetch_names(PyObject* module) {
  py_check_status(PyModule_AddFunctions(module, functions));
  const struct {
    const char* name;
    PyObject* value;
  } names[] = {
      {"HTTPError", http_error_type()},
      {"HTTPTimeoutError", http_timeout_error_type()},
      {"Response", response_type()},
  };
  for (const auto& [name, value] : names) py_check_status(PyObject_SetAttrString(module, name, value));
}

}  // namespace python
