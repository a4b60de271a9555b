// The body of a request, as it comes in.
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
    kChunk,    // taken() has it; nothing, where that was the end.
    kNothing,  // Not yet.
    kBroken,   // There will be no more: the client has gone, or sends what is no body.
  };

  // Reads what there is. Does not wait, but where the protocol itself does (FastCGI's): see waits().
  Got read();
  // Throws PyError.
  python::PyRef taken();
  bool ended() const noexcept;
  // To read may wait: on the fiber only.
  bool waits() const noexcept;
  // The client waits to be told that it may send its body, and nothing has been read.
  bool expects_continue() const noexcept { return expects_continue_; }
  void continued() noexcept { expects_continue_ = false; }

 private:
  Got read_buffered();
  Got read_some();
  bool decode(std::string_view received);

  wsgi_request& request_;
  std::unique_ptr<engine::ChunkedDecoder> chunks_;  // Null: its length is known.
  std::string chunk_;
  bool expects_continue_ = false;
};

}  // namespace asgi
