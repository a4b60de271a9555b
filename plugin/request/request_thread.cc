#include "plugin/request/request_thread.h"

#include <utility>

#include "plugin/blocking/gate.h"
#include "plugin/loop/clock.h"
#include "plugin/request/request_host.h"
#include "plugin/uwsgi/python_bridge.h"

namespace engine {
namespace {

// What uwsgi.wsgi_req points at between requests: parts of uWSGI read it unasked.
wsgi_request nobody;
wsgi_request* handled_by_loop = nullptr;

// One task in so many has its stack measured, which takes some microseconds. Stacks keep the
// traces of all tasks that ran on them, so none is missed for long.
constexpr unsigned kMeasuredEvery = 1024;

// Its task is over: a deep one does not keep its memory. A few loads where the stack was not used
// deeply.
void rest(suspend::Fiber& fiber) noexcept {
  static unsigned rested = 0;
  suspend::Stack& stack = fiber.idle_stack();
  stack.trim();
  if (rested++ % kMeasuredEvery == 0) stack.measure();
}

}  // namespace

RequestThread::RequestThread(const python::Hub& hub, loop::IoLoop& loop, std::size_t stack_size,
                             wsgi_request* request, loop::Callback finished)
    : VirtualThread(hub, loop, stack_size),
      request_(request),
      finished_(finished),
      async_wait_(*this),
      limits_(*this),
      times_(RequestTimes::wanted() ? std::make_unique<RequestTimes>() : nullptr) {}

RequestThread* RequestThread::waiting() noexcept {
  RequestThread* const thread = current();
  return thread != nullptr && RequestHost::instance() != nullptr && thread->may_suspend() ? thread : nullptr;
}

void RequestThread::begin(double began_s) noexcept {
  begin_task();
  began_s_ = began_s;
  times_resumed_ = 0;
  if (times_) times_->begin(static_cast<std::int64_t>(uwsgi_micros() - request_->start_of_request));
}

double RequestThread::age_s() const noexcept { return loop::monotonic_s() - began_s_; }
double RequestThread::since_s() const noexcept { return loop::monotonic_s() - switched_s_; }

void RequestThread::entering() noexcept {
  ++times_resumed_;
  RequestHost::note_switch();
  if (times_ && stepping_ != this) times_->runs();
  switched_s_ = RequestHost::turn_s();
  // A fiber that gave way comes back without the GIL, so this is done for it here.
  if (gave_way()) show_environ();
  VirtualThread::entering();
  uwsgi.wsgi_req = request_;
  if (stepping_ == this) user_harakiri_.left(false);  // What the step has set so far.
  user_harakiri_.entering();
}

void RequestThread::entered() noexcept {
  VirtualThread::entered();
  if (!gave_way()) show_environ();
}

void RequestThread::show_environ() noexcept {
  if (environ_ != nullptr) set_current_environ(environ_);
}

bool RequestThread::left() noexcept {
  RequestHost::end_if_child(0);
  RequestHost::note_switch();
  if (times_ && stepping_ != this)
    times_->stops(fiber().waiting() == nullptr ? nullptr : fiber().waiting()->what());
  const bool straight_back = VirtualThread::left();
  uwsgi.wsgi_req = &nobody;
  switched_s_ = RequestHost::turn_s();
  user_harakiri_.left(fiber().idle());
  if (stepping_ == this && !fiber().idle()) user_harakiri_.entering();  // The step goes on.
  if (environ_ != nullptr) limits_.read_timeout(environ_);
  if (fiber().idle()) {
    rest(fiber());
    finished_.function(finished_.argument);  // Which may start it anew.
  } else if (when_left_.function != nullptr && !straight_back) {
    const loop::Callback callback = std::exchange(when_left_, {nullptr, nullptr});
    callback.function(callback.argument);  // Which may resume it.
  }
  return straight_back;
}

void RequestThread::application_steps(RequestThread* thread) noexcept {
  static std::uint64_t task = 0;  // The thread may have another by the end of the step.
  RequestHost::note_switch();
  if (thread == nullptr) {
    RequestThread* const stepped = std::exchange(stepping_, nullptr);
    if (stepped != nullptr && stepped->task().number() == task && !stepped->fiber().idle()) {
      stepped->user_harakiri_.left(false);
      if (stepped->times_) stepped->times_->stops("application");
    }
    handled_by_loop = nullptr;
    uwsgi.wsgi_req = &nobody;
    return;
  }
  if (stepping_ == thread) return;  // The outer one begins the inner.
  stepping_ = thread;
  task = thread->task().number();
  if (thread->times_) thread->times_->runs();
  thread->user_harakiri_.entering();
  handled_by_loop = thread->request_;
  uwsgi.wsgi_req = thread->request_;
}

wsgi_request* current_request() noexcept {
  if (RequestThread* thread = RequestThread::current()) return thread->request();
  return blocking::on_loop_thread() ? handled_by_loop : nullptr;
}

std::string name_of(const wsgi_request& request) {
  return std::string(request.method, request.method_len) + ' ' + std::string(request.uri, request.uri_len);
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
