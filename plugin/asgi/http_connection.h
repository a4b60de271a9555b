// A connection of ASGI's type "http": a request, its body and the response.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "plugin/asgi/connection.h"
#include "plugin/asgi/message.h"
#include "plugin/asgi/request_body.h"
#include "plugin/asgi/scope.h"

namespace asgi {

class HttpConnection final : public Connection {
 public:
  // `state` is the lifespan's state, or null.
  HttpConnection(engine::RequestThread& thread, const Asked& asked, PyObject* state);

  python::PyRef receive() override;
  void send(PyObject* message) override;

 private:
  enum class Response { kNotStarted, kStarted, kBody, kTrailers, kComplete };
  enum Kind : int { kInformation, kBody, kFile, kTrailers, kEnd };

  python::PyRef make_scope() override;
  bool write(Output& output) override;
  bool write_gathered(std::string_view text) override { return write_raw(text); }
  void look() override;
  bool answered() const noexcept override { return written_; }
  void finish(const python::PyRef& exception) override;
  void detach() noexcept override;

  // The request's body.
  python::PyRef body_message();
  bool read_body();
  void await_body();
  void on_readable(int) noexcept;
  void on_body_late() noexcept;
  // Messages of the application.
  void start_response(PyObject* message);
  void send_body(PyObject* message);
  void gather_piece(std::string_view data, bool more);
  void send_file(PyObject* message);
  static File open_file(PyObject* path, std::size_t& size);
  void send_trailers(PyObject* message);
  void send_early_hint(PyObject* message);
  void count(std::size_t size);
  void choose_framing();
  void end_body();
  // On the fiber.
  bool write_head();
  bool write_body(PyObject* data);
  bool write_chunk(std::string_view data);
  bool write_file(File file, std::size_t size);
  bool write_raw(std::string_view text);

  PyObject* const state_;
  RequestBody body_;
  loop::IoWatcher<HttpConnection, &HttpConnection::on_readable> readable_;
  loop::TimerWatcher<HttpConnection, &HttpConnection::on_body_late> late_;
  bool body_broken_ = false;
  bool body_told_ = false;    // The application has received the end of the body.
  bool body_wanted_ = false;  // The fiber must read, because this protocol's read may wait.
  python::PyRef body_read_;   // What the fiber has read.

  Response response_ = Response::kNotStarted;
  int status_ = 0;
  std::vector<Header> headers_;
  bool trailers_ = false;  // The application has announced trailers.
  bool chunked_ = false;
  bool has_length_ = false;
  std::size_t length_ = 0;     // The announced Content-Length.
  std::size_t body_size_ = 0;  // How much of the body was sent.
  bool bodiless_ = false;      // HEAD, 204 and 304: the body is not sent.
  bool head_written_ = false;
  bool written_ = false;  // The whole response.
};

}  // namespace asgi
