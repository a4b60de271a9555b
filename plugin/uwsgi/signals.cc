#include "plugin/uwsgi/signals.h"

#include <csignal>
#include <new>

#include "plugin/uwsgi/engine.h"

namespace engine {

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

void Signals::on_signal_socket(int) noexcept { handle(&uwsgi.signal_socket); }
void Signals::on_my_signal_socket(int) noexcept { handle(&uwsgi.my_signal_socket); }

void Signals::on_hangup() noexcept {
  uwsgi_log("Gracefully killing worker %d (pid: %d)...\n", uwsgi.mywid, uwsgi.mypid);
  engine_.drain_to_reload();
}

void Signals::handle(int* signal_socket) noexcept {
  try {
    engine_.side_threads().spawn(
        [](void* socket) noexcept {
          // Reads the signal before anything can wait, so the socket is not seen ready twice.
          uwsgi_receive_signal(*static_cast<int*>(socket), const_cast<char*>("worker"), uwsgi.mywid);
        },
        signal_socket);
  } catch (const std::bad_alloc&) {
    // The signal stays in its socket; the next turn tries again.
  }
}

}  // namespace engine
