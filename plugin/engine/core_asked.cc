// What others ask of a core while its request runs: the plugin that answers it, the worker's end.
#include <poll.h>
#include <sys/socket.h>

#include <cstdint>
#include <utility>

#include "plugin/asyncio/asgiref.h"
#include "plugin/engine/core.h"
#include "plugin/engine/engine.h"
#include "plugin/greenlet/greenlet.h"
#include "plugin/python/interruption.h"
#include "plugin/request/request_framing.h"
#include "plugin/uwsgi/connection_socket.h"
#include "plugin/uwsgi/interfaces.h"
#include "plugin/uwsgi/options.h"

namespace engine {
namespace {

// It says that it sends no more. A client that has its answer may.
bool client_is_gone(const wsgi_request& request) noexcept {
  pollfd look{request.fd, POLLRDHUP, 0};
  return poll(&look, 1, 0) > 0;
}

}  // namespace

// --- Python's part of the request ------------------------------------------------------------------

void Core::python_begins(PyObject* environ) noexcept {
  end_loading();
  const Interface* const interface = served_by(uwsgi_apps[request_->app_id]);
  if (interface == nullptr) name_thread();
  if (interface == nullptr || !interface->makes_context) enter_context();
  // One that is closed for what its request looks like says so (RFC 9112, section 9.6).
  if (socket_->retry != nullptr) {
    framing_ = framing_of(*request_);
    if (!body_is_delimited(*framing_)) announce_close();
  }
  leave_body_out();
  thread_->set_environ(environ);
  if (interface == nullptr)
    connection_ = offer_connection(*request_, environ);  // Others do not see the environ.
  if (!asgiref_told_ && !options().native_asgiref) asgiref_told_ = python::share_loop_with_asgiref();
}

void Core::enter_context() noexcept {
  context_ = python::PyRef::steal(PyContext_New());
  if (context_ && PyContext_Enter(context_.get()) == 0) return;
  PyErr_Clear();
  context_ = python::PyRef();
}

bool Core::python_failed() noexcept {
  failed_ = true;
  {
    const python::ErrorAside error;
    name_thread();  // sys.excepthook logs the exception.
  }
  const bool client_left = PyErr_ExceptionMatches(python::client_disconnected_type());
  thread_->limits().settle();
  return !(client_left && thread_->limits().ended_by() == EndedBy::kClientGone);
}

// Nothing is written that could fail when the client has gone, and the response may have no end.
void Core::chunk_left_out() noexcept {
  if (request_->switches == 0) return;  // uWSGI yields once before the first.
  if (!request_->headers_sent) uwsgi_response_write_headers_do(request_);
  else if (client_is_gone(*request_)) ++request_->write_errors;
}

bool Core::python_yielded() noexcept {
  if (request_->ignore_body && is_head(*request_)) chunk_left_out();
  if (thread_->async_wait().asked()) return false;
  request_->switches++;
  if (should_give_way()) give_way();
  return true;
}

void Core::python_ends() noexcept {
  python::end_greenlets_of(*thread_);
  thread_->limits().settle();
  thread_->set_environ(nullptr);
  if (connection_) withdraw_connection(std::exchange(connection_, python::PyRef()));
  if (!context_) return;
  if (PyContext_Exit(context_.get()) < 0) PyErr_Clear();
  context_ = python::PyRef();
}

// --- A websocket --------------------------------------------------------------------------

const std::shared_ptr<WebSocket>& Core::websocket() {
  if (!websocket_) {
    websocket_ = std::make_shared<WebSocket>(engine_.loop(), request_, uwsgi.websockets_max_size * 1024);
    if (engine_.draining()) websocket_->going_away();
    if (request_->fd < 0) websocket_->connection_lost();
  }
  return websocket_;
}

// Others may have it still, and will find it closed.
void Core::end_websocket() noexcept {
  websocket_->end(*thread_);
  websocket_.reset();
}

// --- The worker ends ----------------------------------------------------------------------

void Core::going_away() noexcept {
  if (websocket_) websocket_->going_away();
  if (phase_ == Phase::kRunning && thread_->application() != nullptr) thread_->application()->going_away();
  if (phase_ == Phase::kRunning) announce_close();
}

// A client that is not told sends its next request to a worker that has gone.
void Core::announce_close() noexcept {
  if (socket_->retry == nullptr || request_->headers_sent) return;
  std::uint16_t length = 0;
  if (uwsgi_get_var(request_, const_cast<char*>("HTTP_UPGRADE"), 12, &length) != nullptr) return;
  constexpr char kClose[] = "Connection: close";
  uwsgi_additional_header_add(request_, const_cast<char*>(kClose), sizeof kClose - 1);
}

void Core::cut_off() noexcept {
  if (phase_ != Phase::kRunning) return;
  if (request_->headers_sent) shutdown(request_->fd, SHUT_RDWR);
  if (!request_->headers_sent || thread_->application() != nullptr) thread_->limits().worker_ends();
}

}  // namespace engine
