// A connection of ASGI's type "websocket".
#pragma once

#include <list>
#include <memory>
#include <string>
#include <vector>

#include "plugin/asgi/connection.h"
#include "plugin/asgi/message.h"
#include "plugin/asgi/scope.h"
#include "plugin/request/websocket.h"

namespace asgi {

// Whether the client asks for a websocket.
bool asks_for_websocket(const Asked& asked);
// The status that refuses an invalid handshake; null if the handshake is valid.
const char* why_no_websocket(wsgi_request& request) noexcept;

// The fiber of the request reads and writes the frames, so that pings are answered and a close is noticed
// while the application is busy. It queues a few messages for the application and then stops reading.
class WebSocketConnection final : public Connection {
 public:
  WebSocketConnection(engine::RequestThread& thread, PyObject* state) noexcept;

  python::PyRef receive() override;
  void send(PyObject* message) override;
  void going_away() noexcept override;

 private:
  enum class State { kConnecting, kDenying, kOpen, kClosed };
  enum Kind : int { kAccept, kText, kBinary, kClose, kRefusal, kDenial };

  struct Message {
    python::PyRef data;  // str or bytes.
    std::size_t size;
  };

  python::PyRef make_scope() override;
  bool write(Output& output) override;
  void look() override;
  bool answered() const noexcept override { return answered_; }
  void finish(const python::PyRef& exception) override;
  double looks_in_s() const noexcept override;
  const char* waits_for() const noexcept override { return "websocket"; }
  void detach() noexcept override;

  python::PyRef disconnect_message() const;
  python::PyRef next_message();
  bool wants_messages() const noexcept;
  void read_messages();
  void note_closed() noexcept;
  void accept(PyObject* message);
  void send_message(PyObject* message);
  void close(PyObject* message);
  void deny(PyObject* message);
  void send_denial(PyObject* message);
  bool write_handshake(std::string_view subprotocol);
  bool write_denial(std::string_view body, bool last);
  void on_readable(int) noexcept;

  PyObject* const state_of_application_;
  State state_ = State::kConnecting;
  bool connect_told_ = false;
  std::unique_ptr<engine::WebSocket> websocket_;  // Null until it is accepted.
  std::list<Message> messages_;
  std::size_t messages_size_ = 0;
  loop::IoWatcher<WebSocketConnection, &WebSocketConnection::on_readable> readable_;
  std::vector<Header> headers_;  // Of the response: the handshake or the denial.
  int status_ = 0;
  int close_code_ = engine::close_code::kConnectionLost;
  std::string close_reason_;
  bool closed_by_application_ = false;
  bool worker_ends_ = false;
  bool head_written_ = false;
  bool answered_ = false;
};

}  // namespace asgi
