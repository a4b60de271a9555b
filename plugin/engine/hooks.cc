#include "plugin/engine/hooks.h"

#include "plugin/blocking/gate.h"
#include "plugin/engine/engine.h"
#include "plugin/loop/fd_wait.h"
#include "plugin/request/request_thread.h"
#include "plugin/uwsgi/uwsgi_core.h"
#include "suspend/waiting.h"

namespace engine {
namespace {

// uWSGI waits for ever on a timeout of 0.
double seconds_or_never(int timeout_s) noexcept { return timeout_s > 0 ? timeout_s : -1; }

// 1 when `fd` is ready, 0 on timeout, -1 on error: uWSGI's contract for its wait hooks. What an
// interrupted application makes its answer is sent all the same.
int wait_fd(RequestThread& thread, int fd, int events, int timeout_s) noexcept {
  const bool answers = events == EV_WRITE && fd == thread.request()->fd && thread.fiber().interrupt_met();
  const suspend::ResumedEarly waiting(thread.fiber(), events == EV_READ ? "read" : "write", fd);
  if (!answers && waiting.interrupted()) return -1;
  loop::FdWait wait(Engine::instance()->loop(), blocking::resumes(thread.fiber()));
  wait.start(fd, events, seconds_or_never(timeout_s));
  thread.suspend();  // Other requests run here.
  if (!answers && waiting.interrupted()) return -1;
  return wait.timed_out() ? 0 : 1;
}

// Two descriptors, whichever is ready first.
class EitherWait {
 public:
  EitherWait(RequestThread& thread, int fd0, int fd1) noexcept
      : thread_(thread),
        first_(Engine::instance()->loop().raw(), this),
        second_(Engine::instance()->loop().raw(), this),
        timer_(Engine::instance()->loop().raw(), this) {
    first_.start(fd0, EV_READ);
    second_.start(fd1, EV_READ);
  }

  // As uWSGI's hook.
  int wait(int timeout_s, int* ready_fd) noexcept {
    const suspend::ResumedEarly waiting(thread_.fiber(), "read", first_.fd());
    if (waiting.interrupted()) return -1;
    if (timeout_s > 0) timer_.start(timeout_s);
    thread_.suspend();
    if (waiting.interrupted()) return -1;
    *ready_fd = ready_;
    return ready_ < 0 ? 0 : 1;
  }

 private:
  void on_first(int) noexcept { end(first_.fd()); }
  void on_second(int) noexcept { end(second_.fd()); }
  void on_due() noexcept { end(-1); }
  void end(int ready) noexcept {
    ready_ = ready;
    first_.stop();
    second_.stop();
    timer_.stop();
    thread_.fiber().resume();
  }

  RequestThread& thread_;
  loop::IoWatcher<EitherWait, &EitherWait::on_first> first_;
  loop::IoWatcher<EitherWait, &EitherWait::on_second> second_;
  loop::TimerWatcher<EitherWait, &EitherWait::on_due> timer_;
  int ready_ = -1;
};

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
  return EitherWait(*thread, fd0, fd1).wait(timeout_s, ready_fd);
}

static int tornado_wait_milliseconds(int timeout_ms) {
  RequestThread* thread = RequestThread::waiting();
  if (thread == nullptr) return uwsgi_simple_wait_milliseconds_hook(timeout_ms);
  const suspend::ResumedEarly waiting(thread->fiber(), "sleep");
  if (waiting.interrupted()) return -1;
  loop::FdWait wait(Engine::instance()->loop(), blocking::resumes(thread->fiber()));
  wait.start(timeout_ms * 1e-3);
  thread->suspend();
  return waiting.interrupted() ? -1 : 0;
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
