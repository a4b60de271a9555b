#include "plugin/uwsgi/signals.h"

#include <csignal>
#include <new>

#include "plugin/uwsgi/engine.h"

namespace engine {

// A virtual thread for handlers, kept for the next signal. Its request is nobody's: no
// socket, no core, only something for uwsgi.* functions to act on.
struct Signals::Handler {
  explicit Handler(Signals& owner)
      : signals(owner),
        thread(owner.engine_.hub(), owner.engine_.loop(), owner.engine_.stack_size(), &request,
               loop::Callback{[](void* self) noexcept { static_cast<Handler*>(self)->finished(); }, this}) {}

  void finished() noexcept {
    --signals.running_;
    signals.free_handlers_.push_back(this);
    if (signals.engine_.draining()) signals.engine_.drain();
  }

  Signals& signals;
  wsgi_request request{};
  int socket = -1;
  RequestThread thread;
};

Signals::Signals(Engine& engine) noexcept
    : engine_(engine),
      shared_(engine.loop().raw(), this),
      own_(engine.loop().raw(), this),
      hangup_(engine.loop().raw(), this) {}

Signals::~Signals() = default;

void Signals::start() noexcept {
  if (uwsgi.signal_socket > -1) {
    shared_.start(uwsgi.signal_socket, EV_READ);
    own_.start(uwsgi.my_signal_socket, EV_READ);
  }
  // A client that leaves is an errno of the write, not a reason to die.
  signal(SIGPIPE, SIG_IGN);
  hangup_.start(SIGHUP);
}

void Signals::stop() noexcept {
  shared_.stop();
  own_.stop();
}

void Signals::on_signal_socket(int) noexcept { handle(uwsgi.signal_socket); }
void Signals::on_my_signal_socket(int) noexcept { handle(uwsgi.my_signal_socket); }

void Signals::on_hangup() noexcept {
  uwsgi_log("Gracefully killing worker %d (pid: %d)...\n", uwsgi.mywid, uwsgi.mypid);
  engine_.drain_to_reload();
}

void Signals::handle(int signal_socket) noexcept {
  if (free_handlers_.empty()) {
    try {
      handlers_.push_back(std::make_unique<Handler>(*this));
    } catch (const std::bad_alloc&) {
      return;  // The signal stays in its socket; the next turn tries again.
    }
    free_handlers_.push_back(handlers_.back().get());
  }
  Handler* handler = free_handlers_.back();
  free_handlers_.pop_back();
  handler->socket = signal_socket;
  ++running_;
  handler->thread.fiber().start(
      [](void* self) noexcept {
        // Reads the signal before anything can wait, so the socket is not seen ready twice.
        uwsgi_receive_signal(static_cast<Handler*>(self)->socket, const_cast<char*>("worker"),
                             uwsgi.mywid);
      },
      handler);
}

}  // namespace engine
