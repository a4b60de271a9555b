// The applications that uWSGI's python plugin calls, and how the engine learns of each request to them.
#pragma once

#include <Python.h>

#include <string_view>

// uwsgi.h has no include guard and uwsgi_python.h includes it, so neither is included here.
struct wsgi_request;

namespace engine {

// Learns of the part of a request that runs in the python plugin. All with the GIL held, on the request's own
// thread state.
class PythonRequests {
 public:
  virtual void python_begins(wsgi_request* request, PyObject* environ) noexcept = 0;
  virtual void python_ends(wsgi_request* request) noexcept = 0;
  // The application is about to be called with its environ, which is complete.
  virtual void python_called(PyObject* environ) noexcept = 0;
  // The application was called and has returned; its result is not sent yet.
  virtual void python_returned() noexcept = 0;
  // Its iterable gave a chunk, which is sent. True if the next may follow at once; false if uWSGI's yield
  // protocol is needed, because the request waits for an event.
  virtual bool python_yielded(wsgi_request* request) noexcept = 0;
  // --tornado-coalesce: whether chunks may be kept and sent together.
  virtual bool may_keep_chunks(wsgi_request* request) noexcept = 0;
  // The iterable yielded this chunk. REQUIRES: may_keep_chunks().
  virtual void keep_chunk(wsgi_request* request, std::string_view chunk) noexcept = 0;
  // Sends the kept chunks, because uWSGI itself sends next.
  virtual void send_kept_chunks(wsgi_request* request) noexcept = 0;
  // The application raised an exception, which is Python's current error. True if it is to be logged.
  virtual bool python_failed(wsgi_request* request) noexcept = 0;

 protected:
  ~PythonRequests() = default;
};

// Reports to `requests` from now on; wraps each application at its first request.
void watch_requests(PythonRequests* requests) noexcept;

}  // namespace engine
