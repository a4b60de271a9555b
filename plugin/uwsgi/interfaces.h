// Finds out which interface an application uses, and which functions serve its requests.
#pragma once

// uwsgi.h has no include guard and uwsgi_python.h includes it, so neither is included here.
struct uwsgi_app;
struct wsgi_request;

namespace engine {

// The functions that uWSGI's python plugin calls for a request: the first with the environ ready and the GIL
// held. If its result is not null, it is the request's async_result, and the second is called until it
// returns UWSGI_OK.
struct Interface {
  const char* name;  // As in --tornado-interface.
  const char* shown;
  void* (*request)(wsgi_request*, uwsgi_app*);
  int (*response)(wsgi_request*);
  // Each request has a contextvars.Context of its own, made by request().
  bool makes_context = false;
};

// Serves applications of that interface, beside WSGI's, which uWSGI serves itself. Call before any is loaded.
void serve_interface(const Interface& interface);

// From now on, checks applications when uWSGI loads them: those whose interface is not served are refused
// with a sentence in the log. Called once uWSGI has loaded those given by options other than --mount, and
// checks these as well. With the GIL held.
void look_at_applications() noexcept;

// How an application is to be served; null: by uWSGI. With the GIL held.
const Interface* interface_of(const uwsgi_app& application) noexcept;

// The Interface whose functions serve it; null: uWSGI serves it.
const Interface* served_by(const uwsgi_app& application) noexcept;

}  // namespace engine
