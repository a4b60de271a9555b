// The applications that uWSGI's python plugin calls, and what the engine is told of each request to them.
#pragma once

#include <Python.h>

// uwsgi.h has no include guard and uwsgi_python.h includes it, so neither is included here.
struct wsgi_request;

namespace engine {

// Told about the part of a request that runs in the python plugin. All with the GIL held,
// on the request's own thread state.
class PythonRequests {
 public:
  virtual void python_begins(wsgi_request* request, PyObject* environ) noexcept = 0;
  virtual void python_ends(wsgi_request* request) noexcept = 0;
  // The application is about to be called with its environ, which is whole now.
  virtual void python_called(PyObject* environ) noexcept = 0;
  // The application was called and has returned; its result is not sent yet.
  virtual void python_returned() noexcept = 0;
  // Its iterable gave a chunk, which is sent. True when the next may follow at once; false when
  // uWSGI's yield protocol is to be gone through, for the request waits for an event.
  virtual bool python_yielded(wsgi_request* request) noexcept = 0;
  // An exception came out of the application; it is Python's current error. True when it is to be logged.
  virtual bool python_failed(wsgi_request* request) noexcept = 0;

 protected:
  ~PythonRequests() = default;
};

// Has `requests` told; wraps each application as its first request comes.
void watch_requests(PythonRequests* requests) noexcept;

}  // namespace engine
