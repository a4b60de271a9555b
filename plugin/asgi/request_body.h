// Reads the body of a request as it arrives.
#pragma once

#include <memory>
#include <string>

#include "plugin/asgi/scope.h"
#include "plugin/exchange/chunked_decoder.h"
#include "plugin/python/py_ref.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace asgi {

class RequestBody {
 public:
  RequestBody(wsgi_request& request, const Asked& asked);

  enum class Got {
    kChunk,    // taken() returns it; it is empty at the end of the body.
    kNothing,  // Not yet.
    kBroken,   // The client has disconnected, or the chunked encoding is invalid.
  };

  // Reads what is available. Waits only if the protocol does (FastCGI): see waits().
  Got read();
  // Throws PyError.
  python::PyRef taken();
  bool ended() const noexcept;
  // Whether read() may wait, so that only the fiber may call it.
  bool waits() const noexcept;
  // Whether the client still waits for "100 Continue".
  bool expects_continue() const noexcept { return expects_continue_; }
  void continued() noexcept { expects_continue_ = false; }

 private:
  Got read_buffered();
  Got read_some();
  bool decode(std::string_view received);

  wsgi_request& request_;
  std::unique_ptr<engine::ChunkedDecoder> chunks_;  // Null if the body has a Content-Length.
  std::string chunk_;
  bool expects_continue_ = false;
};

}  // namespace asgi
