#include "plugin/uwsgi/request_thread.h"

#include "plugin/blocking/gate.h"
#include "plugin/uwsgi/engine.h"
#include "plugin/uwsgi/python_bridge.h"

namespace engine {
namespace {

// What uwsgi.wsgi_req points at between requests: parts of uWSGI read it unasked.
wsgi_request nobody;
wsgi_request* handled_by_loop = nullptr;

}  // namespace

RequestThread::RequestThread(const python::Hub& hub, std::size_t stack_size, wsgi_request* request,
                             loop::Callback finished)
    : VirtualThread(hub, stack_size), request_(request), finished_(finished) {}

void RequestThread::entering() noexcept {
  VirtualThread::entering();
  uwsgi.wsgi_req = request_;
}

void RequestThread::entered() noexcept {
  if (environ_ != nullptr) set_current_environ(environ_);
}

void RequestThread::left() noexcept {
  Engine::end_if_child(0);
  VirtualThread::left();
  uwsgi.wsgi_req = &nobody;
  if (fiber().idle()) finished_.function(finished_.argument);
}

wsgi_request* current_request() noexcept {
  if (RequestThread* thread = RequestThread::current()) return thread->request();
  return blocking::on_loop_thread() ? handled_by_loop : nullptr;
}

HandledByLoop::HandledByLoop(wsgi_request* request) noexcept {
  handled_by_loop = request;
  uwsgi.wsgi_req = request;
}

HandledByLoop::~HandledByLoop() {
  handled_by_loop = nullptr;
  uwsgi.wsgi_req = &nobody;
}

}  // namespace engine
