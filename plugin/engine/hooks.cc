#include "plugin/engine/hooks.h"

#include "plugin/blocking/wait.h"
#include "plugin/blocking/watched.h"
#include "plugin/engine/engine.h"
#include "plugin/request/request_thread.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {
namespace {

using suspend::Abort;
using suspend::Woken;

// uWSGI waits for ever on a timeout of 0.
loop::Deadline deadline_of(int timeout_s) noexcept {
  return timeout_s > 0 ? loop::Deadline::after(timeout_s) : loop::Deadline::never();
}

// uWSGI's contract for its wait hooks: 1 when it is ready, 0 on timeout, -1 on error.
int answer_of(Woken woken) noexcept {
  return woken == Woken::kPosted ? 1 : woken == Woken::kTimedOut ? 0 : -1;
}

// What an interrupted application makes its answer is sent all the same.
int wait_fd(RequestThread& thread, int fd, int events, int timeout_s) noexcept {
  const bool answers = events == EV_WRITE && fd == thread.request()->fd && thread.task().interrupt().met();
  suspend::Baton baton(thread.fiber(), events == EV_READ ? "read" : "write",
                       answers ? Abort::kNever : Abort::kAllowed, fd);
  const blocking::Watched watched(baton, fd, events);
  return answer_of(blocking::wait(baton, deadline_of(timeout_s)));  // Other requests run here.
}

// Two descriptors, whichever is ready first.
int wait_either(RequestThread& thread, int fd0, int fd1, int timeout_s, int* ready_fd) noexcept {
  suspend::Baton baton(thread.fiber(), "read", Abort::kAllowed, fd0);
  const blocking::Watched first(baton, fd0, EV_READ);
  const blocking::Watched second(baton, fd1, EV_READ);
  const int answer = answer_of(blocking::wait(baton, deadline_of(timeout_s)));
  if (answer >= 0) *ready_fd = answer == 0 ? -1 : first.ready() ? fd0 : fd1;
  return answer;
}

extern "C" {

static int tornado_wait_read(int fd, int timeout_s) {
  RequestThread* thread = RequestThread::waiting();
  return thread == nullptr ? uwsgi_simple_wait_read_hook(fd, timeout_s)
                           : wait_fd(*thread, fd, EV_READ, timeout_s);
}

static int tornado_wait_write(int fd, int timeout_s) {
  RequestThread* thread = RequestThread::waiting();
  return thread == nullptr ? uwsgi_simple_wait_write_hook(fd, timeout_s)
                           : wait_fd(*thread, fd, EV_WRITE, timeout_s);
}

static int tornado_wait_read2(int fd0, int fd1, int timeout_s, int* ready_fd) {
  RequestThread* thread = RequestThread::waiting();
  if (thread == nullptr) return uwsgi_simple_wait_read2_hook(fd0, fd1, timeout_s, ready_fd);
  return wait_either(*thread, fd0, fd1, timeout_s, ready_fd);
}

static int tornado_wait_milliseconds(int timeout_ms) {
  RequestThread* thread = RequestThread::waiting();
  if (thread == nullptr) return uwsgi_simple_wait_milliseconds_hook(timeout_ms);
  return answer_of(blocking::sleep_until(thread->fiber(), loop::Deadline::after(timeout_ms * 1e-3)));
}

static void tornado_schedule_to_main(wsgi_request*) {
  if (RequestThread* thread = RequestThread::waiting()) thread->async_wait().park();
}

static void tornado_schedule_fix(wsgi_request*) {
  if (RequestThread* thread = RequestThread::waiting()) thread->async_wait().resume_next_turn();
}

// uWSGI's own async loop calls this to give a request the CPU; here the IOLoop does.
static void tornado_schedule_to_req(void) {
  if (RequestThread* thread = RequestThread::waiting()) thread->async_wait().resume_next_turn();
}

static wsgi_request* tornado_current_wsgi_req(void) { return current_request(); }

// max-requests, reload-on-rss and the like: the worker has done its work.
static void tornado_goodbye(void) {
  Engine* engine = Engine::instance();
  if (engine == nullptr) return;
  if (!engine->draining()) uwsgi_log("...The work of process %d is done. Seeya!\n", getpid());
  engine->drain_soon();
}

}  // extern "C"

}  // namespace

void install_hooks() noexcept {
  uwsgi.wait_read_hook = tornado_wait_read;
  uwsgi.wait_write_hook = tornado_wait_write;
  uwsgi.wait_read2_hook = tornado_wait_read2;
  uwsgi.wait_milliseconds_hook = tornado_wait_milliseconds;
  uwsgi.schedule_to_main = tornado_schedule_to_main;
  uwsgi.schedule_to_req = tornado_schedule_to_req;
  uwsgi.schedule_fix = tornado_schedule_fix;
  uwsgi.current_wsgi_req = tornado_current_wsgi_req;
  uwsgi.gbcw_hook = tornado_goodbye;
}

}  // namespace engine
