// The driver of this engine for python-engineio, and so for Flask-SocketIO.
#pragma once

namespace engine {

// Puts the driver where engineio looks for the one of gevent on uWSGI, which cannot run here:
// async_mode='gevent_uwsgi', or no mode if eventlet is not installed. With the GIL held, before the
// applications are imported. Throws PyError.
void install_engineio_driver();

// Whether the application has imported engineio. With the GIL held.
bool engineio_is_used() noexcept;

// The worker ends: ends the driver's background tasks that sleep. On a virtual thread.
void end_engineio_tasks() noexcept;

}  // namespace engine
