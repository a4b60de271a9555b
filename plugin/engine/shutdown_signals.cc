#include "plugin/engine/shutdown_signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "plugin/engine/engine.h"

namespace engine {
namespace {

constexpr int kEndSignals[] = {SIGINT, SIGTERM, SIGQUIT};

// Null while no engine runs. Read by the signal handler, on any thread.
std::atomic<ShutdownSignals*> receiver{nullptr};
volatile sig_atomic_t told_by_master = 0;
volatile sig_atomic_t told_by_others = 0;

[[noreturn]] void end_at_once() noexcept {
  constexpr char kSaid[] = "tornado: told to end a second time: this worker ends at once\n";
  static_cast<void>(!write(2, kSaid, sizeof kSaid - 1));
  _exit(UWSGI_END_CODE);
}

// A child that a request has forked is not a worker, so the signal has its usual effect.
void end_child(int number) noexcept {
  signal(number, SIG_DFL);
  raise(number);
}

// On any thread, in the middle of anything.
void on_end_signal(int number, siginfo_t* info, void*) noexcept {
  if (getpid() != uwsgi.mypid) return end_child(number);
  const int error = errno;
  const bool from_master = uwsgi.master_process && info->si_pid == uwsgi.workers[0].pid;
  volatile sig_atomic_t& told = from_master ? told_by_master : told_by_others;
  if (told) end_at_once();
  told = 1;
  if (ShutdownSignals* const signals = receiver.load()) signals->pass_on();
  errno = error;
}

void kill_workers(int) noexcept {
  for (int i = 1; i <= uwsgi.numproc; ++i) {
    if (uwsgi.workers[i].pid > 0) kill(uwsgi.workers[i].pid, SIGKILL);
  }
}

}  // namespace

ShutdownSignals::ShutdownSignals(Engine& engine) noexcept
    : engine_(engine),
      application_{},
      hangup_(engine.loop().raw(), this),
      woken_(engine.loop().raw(), this),
      told_to_end_(engine.loop().raw(), this) {}

// The handlers stay, for a second signal while Python's atexit functions run.
ShutdownSignals::~ShutdownSignals() { receiver = nullptr; }

void ShutdownSignals::start() noexcept {
  hangup_.start(SIGHUP);
  sigaction(SIGWINCH, nullptr, &application_);
  woken_.start(SIGWINCH);
  told_to_end_.start();
  receiver = this;
  struct sigaction action {};
  action.sa_sigaction = on_end_signal;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  for (const int number : kEndSignals) sigaction(number, &action, nullptr);
  // The master may have had enough of this worker while it loaded its applications.
  engine_.loop().add_callback(
      {[](void* self) noexcept { static_cast<ShutdownSignals*>(self)->look_whether_unwanted(); }, this});
}

void ShutdownSignals::on_hangup() noexcept {
  uwsgi_log("Gracefully killing worker %d (pid: %d)...\n", uwsgi.mywid, uwsgi.mypid);
  engine_.drain_to_exit(UWSGI_RELOAD_CODE);
}

void ShutdownSignals::on_told_to_end() noexcept {
  uwsgi_log("tornado: worker %d (pid: %d) was told to end; its requests have %d s to finish\n", uwsgi.mywid,
            uwsgi.mypid, engine_.mercy_s());
  engine_.drain_to_exit(UWSGI_END_CODE);
}

// CPython's handler only notes that the signal came.
void ShutdownSignals::on_woken() noexcept {
  const bool function = application_.sa_handler != SIG_DFL && application_.sa_handler != SIG_IGN;
  if (function && (application_.sa_flags & SA_SIGINFO) != 0)
    application_.sa_sigaction(SIGWINCH, nullptr, nullptr);
  else if (function) application_.sa_handler(SIGWINCH);
  look_whether_unwanted();
}

// A signal sent before there was a handler for it has left its mark (uwsgi_curse()).
void ShutdownSignals::look_whether_unwanted() noexcept {
  const uwsgi_worker& self = uwsgi.workers[uwsgi.mywid];
  const bool unwanted = !self.manage_next_request || self.cursed_at != 0;
  if (unwanted && !engine_.draining()) engine_.drain_to_exit(UWSGI_END_CODE);
}

void hear_second_end_signal() noexcept {
  const bool dying = uwsgi_instance_is_dying;
  if (!dying && !uwsgi.status.brutally_reloading) return;
  // While it reloads, the two others make it end instead.
  const int reloads = uwsgi.die_on_term ? SIGQUIT : SIGTERM;
  for (const int number : kEndSignals) {
    if (dying || number == reloads) uwsgi_unix_signal(number, kill_workers);
  }
}

}  // namespace engine
