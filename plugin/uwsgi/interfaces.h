// Which interface an application is written for, and who serves its requests.
#pragma once

// uwsgi.h has no include guard and uwsgi_python.h includes it, so neither is included here.
struct uwsgi_app;
struct wsgi_request;

namespace engine {

// What uWSGI's python plugin calls for a request to an application: the first with the environ made and the
// GIL held; its result, if not null, is the request's async_result, and then the second until it returns
// UWSGI_OK.
struct Interface {
  const char* name;  // As --tornado-interface has it.
  const char* shown;
  void* (*request)(wsgi_request*, uwsgi_app*);
  int (*response)(wsgi_request*);
};

// Has applications of that interface served, beside WSGI's, which uWSGI serves itself. Before any is loaded.
void serve_interface(const Interface& interface);

// Has applications looked at from here on as uWSGI loads them: those of interfaces that are not served are
// refused with a sentence in the log. Called once uWSGI has loaded those it was given by options other than
// --mount; looks at them. With the GIL held.
void look_at_applications() noexcept;

// How an application is to be served; null: by uWSGI. With the GIL held.
const Interface* interface_of(const uwsgi_app& application) noexcept;

// Whether its two functions are those of an Interface.
bool is_served_by_us(const uwsgi_app& application) noexcept;

}  // namespace engine
