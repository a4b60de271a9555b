#include "plugin/engine/core.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "plugin/engine/engine.h"
#include "plugin/greenlet/greenlet.h"
#include "plugin/loop/clock.h"
#include "plugin/observe/prometheus.h"
#include "plugin/python/interruption.h"
#include "plugin/request/request_framing.h"
#include "plugin/uwsgi/connection_socket.h"
#include "plugin/uwsgi/python_bridge.h"

namespace engine {
namespace {

// How long a request that yields chunks may go on before the others get their turn: a
// hundred times what the switch costs, so that a stream is hardly slowed by it.
constexpr double kSliceS = 0.0002;

bool is_kept_alive(const uwsgi_socket& socket, int core_id) noexcept {
  return socket.retry != nullptr && socket.retry[core_id] != 0;
}

void answer(wsgi_request* request, std::string status, std::string text) noexcept {
  char name[] = "Content-Type";
  char type[] = "text/plain";
  if (uwsgi_response_prepare_headers(request, status.data(), static_cast<std::uint16_t>(status.size())) != 0)
    return;
  if (uwsgi_response_add_connection_close(request) != 0) return;
  if (uwsgi_response_add_header(request, name, sizeof name - 1, type, sizeof type - 1) != 0) return;
  uwsgi_response_write_body_do(request, text.data(), text.size());
}

// A TLS handshake waits in the middle of the parser, so it needs a fiber to wait on.
bool parses_in_fiber(const wsgi_request& request) noexcept {
#ifdef UWSGI_SSL
  return request.ssl != nullptr;
#else
  (void)request;
  return false;
#endif
}

bool is_http(const uwsgi_socket& socket) noexcept {
  return socket.proto_name != nullptr && std::strncmp(socket.proto_name, "http", 4) == 0;
}

// uWSGI's HTTP parser allocates a buffer (--buffer-size) for each request, too large for malloc's quick
// lists. The request that ran last leaves its buffer for the next. The loop's thread only.
class SpareReadBuffer {
 public:
  SpareReadBuffer() = default;
  ~SpareReadBuffer() { free(buffer_); }
  SpareReadBuffer(const SpareReadBuffer&) = delete;
  SpareReadBuffer& operator=(const SpareReadBuffer&) = delete;

  void give_to(wsgi_request& request) noexcept {
    if (request.proto_parser_buf == nullptr) request.proto_parser_buf = std::exchange(buffer_, nullptr);
  }
  void take_from(wsgi_request& request) noexcept {
    free(std::exchange(buffer_, std::exchange(request.proto_parser_buf, nullptr)));
  }

 private:
  void* buffer_ = nullptr;
} spare_read_buffer;

// uWSGI keeps what its parsers read of a connection until the request ends. They have copied the header, and
// a body is read from the connection itself, except FastCGI's, and where its beginning came with the header.
void free_read_buffer(wsgi_request& request) noexcept {
  if (request.socket->proto_read_body != uwsgi_proto_base_read_body) return;
  if (request.proto_parser_remains > 0) return;
  if (is_http(*request.socket)) {
    spare_read_buffer.take_from(request);
  } else {
    free(request.proto_parser_buf);
    request.proto_parser_buf = nullptr;
  }
}

bool has_routes() noexcept {
#ifdef UWSGI_ROUTING
  return uwsgi.routes != nullptr || uwsgi.final_routes != nullptr || uwsgi.error_routes != nullptr ||
         uwsgi.response_routes != nullptr;
#else
  return false;
#endif
}

uwsgi_core& slot_of(const wsgi_request& request) noexcept {
  return uwsgi.workers[uwsgi.mywid].cores[request.async_id];
}

}  // namespace

Core::Core(Engine& engine, wsgi_request* request) noexcept
    : engine_(engine),
      request_(request),
      readable_(engine.loop().raw(), this),
      timer_(engine.loop().raw(), this),
      coalesced_(engine.loop(), *request) {}

Core::~Core() = default;

// --- A connection comes -------------------------------------------------------------------

bool Core::accept(uwsgi_socket* socket) noexcept {
  assert(phase_ == Phase::kFree);
  const HandledByLoop handled(request_);
  wsgi_req_setup(request_, request_->async_id, socket);
  slot_of(*request_).in_request = 1;
  if (wsgi_req_simple_accept(request_, socket->fd) != 0) {
    slot_of(*request_).in_request = 0;
    return false;
  }
  socket_ = socket;
  peer_ = request_->client_addr;
  peer_size_ = request_->c_len;
  begin();
  return true;
}

void Core::begin() noexcept {
  began_s_ = loop::monotonic_s();
  request_->start_of_request = uwsgi_micros();
  request_->start_of_request_in_sec = request_->start_of_request / 1000000;
  harakiri_.begin();
  phase_ = Phase::kParsing;
  failed_ = false;
  close_after_ = false;
  ending_ = false;
  slice_began_ = 0;
  sent_at_yield_ = 0;
  framing_.reset();
  // Edge-triggered protocols have read the request as they accepted it.
  if (socket_->edge_trigger || parses_in_fiber(*request_)) run();
  else parse();
}

// --- Its request is read, on the loop: a stalled client costs no stack ---------------------

void Core::parse() noexcept {
  int status;
  {
    const HandledByLoop handled(request_);
    if (is_http(*socket_)) spare_read_buffer.give_to(*request_);
    status = socket_->proto(request_);
  }
  if (status == UWSGI_OK) run();
  else if (status == UWSGI_AGAIN) await_bytes();
  else abandon();
}

void Core::await_bytes() noexcept {
  if (!readable_.active()) readable_.start(request_->fd, EV_READ);
  note_incomplete();
}

// One deadline for the whole header, so that a client that drips cannot keep the core for ever.
void Core::note_incomplete() noexcept {
  const bool begun = request_->proto_parser_pos > 0;
  if (incomplete_since_ != 0 && begun == begun_) return;
  if (incomplete_since_ == 0) set_deadline(uwsgi.socket_timeout);
  else leave(engine_.pool().incomplete(begun_));
  begun_ = begun;
  incomplete_since_ = loop::monotonic_s();
  join(engine_.pool().incomplete(begun));
}

void Core::end_incomplete() noexcept {
  if (incomplete_since_ == 0) return;
  deadline_ = 0;
  incomplete_since_ = 0;
  leave(engine_.pool().incomplete(begun_));
}

void Core::join(CorePool::Connections& connections) noexcept {
  assert(!place_kept_.empty());
  connections.splice(connections.end(), place_kept_);
}

void Core::leave(CorePool::Connections& connections) noexcept {
  assert(place_kept_.empty());
  place_kept_.splice(place_kept_.end(), connections, place_);
}

void Core::on_readable(int) noexcept {
  switch (phase_) {
    case Phase::kKeptAlive:
      deadline_ = 0;
      leave(engine_.pool().idle());
      engine_.connection_is_busy();
      slot_of(*request_).in_request = 1;
      request_->client_addr = peer_;
      request_->c_len = peer_size_;
      begin();
      break;
    case Phase::kParsing: parse(); break;
    case Phase::kRunning:
    case Phase::kFree:
      // A body or a pipelined request. The code that reads it waits for it itself.
      readable_.stop();
      break;
  }
}

void Core::set_deadline(double after_s) noexcept {
  deadline_ = loop::monotonic_s() + after_s;
  if (!timer_.active()) timer_.start(after_s);
}

void Core::on_deadline() noexcept {
  if (deadline_ == 0) return;
  const double left_s = deadline_ - loop::monotonic_s();
  if (left_s > 0.001) {
    timer_.start(left_s);
  } else if (phase_ == Phase::kKeptAlive) {
    close_idle_connection();
  } else if (incomplete_since_ != 0) {
    close_incomplete_request();
  }
}

void Core::close_incomplete_request() noexcept {
  end_incomplete();
  if (phase_ == Phase::kParsing) abandon();
  else shutdown(request_->fd, SHUT_RDWR);  // Its fiber waits for the handshake, and ends by this.
}

// Nothing was asked that could be answered: the client left, stalled or sent no request.
void Core::abandon() noexcept {
  end_incomplete();
  readable_.stop();
  close_after_ = true;
  // FastCGI's close reads the rest of the body; here on the loop that would stop everyone.
  request_->proto_parser_eof = 1;
  ending_ = true;
  const HandledByLoop handled(request_);
  uwsgi_destroy_request(request_);
  slot_of(*request_).in_request = 0;
  harakiri_.end();
  release();
}

// --- It runs, on its fiber ----------------------------------------------------------------

bool Core::make_thread() noexcept {
  if (thread_) return true;
  try {
    thread_ = std::make_unique<RequestThread>(
        engine_.hub(), engine_.loop(), engine_.stack_size(), request_,
        loop::Callback{[](void* core) noexcept { static_cast<Core*>(core)->finished(); }, this});
    lacks_stack_ = false;
    return true;
  } catch (const std::bad_alloc&) {
    lacks_stack_ = true;
    return false;
  }
}

void Core::run() noexcept {
  end_incomplete();
  deadline_ = 0;
  free_read_buffer(*request_);
  // A request that came whole never armed it; one that came in parts needs no events for its body.
  if (socket_->retry == nullptr) readable_.stop();
  if (!make_thread()) {
    engine_.refuse(request_);
    abandon();
    return;
  }
  phase_ = Phase::kRunning;
  thread_->begin(began_s_);
  thread_->limits().begin();
  thread_->fiber().start([](void* core) noexcept { static_cast<Core*>(core)->serve(); }, this);
}

// As threads mode names them, before Python code first runs on the fiber. An application that runs on the
// loop runs none there, and the thread's object would be 2 KiB of each idle websocket.
void Core::name_thread() noexcept {
  if (std::exchange(named_, true)) return;
  thread_->set_name("uWSGIWorker" + std::to_string(uwsgi.mywid) + "Core" +
                    std::to_string(request_->async_id));
  thread_->fiber().release_unused_stack();  // Of four constructors in Python, one in the other.
}

// The life of a request, top to bottom. On the fiber: wherever this, uWSGI or the application waits, the
// fiber is suspended in the wait of a Baton (suspend/baton.h), the loop runs others, and the call returns
// when the wait has ended. One that RequestLimits ends fails: the application has the exception, and this
// goes on as after any.
void Core::serve() noexcept {
  if (has_routes()) name_thread();  // They may call Python.
  if (engine_.draining()) announce_close();
  if (!parses_in_fiber(*request_) || parse_in_fiber()) {
#ifdef UWSGI_ROUTING
    const bool routed_away = uwsgi_apply_routes(request_) == UWSGI_ROUTE_BREAK;
#else
    const bool routed_away = false;
#endif
    const bool is_request = routed_away || begin_loading();
    const bool is_answered = routed_away || (is_request && answer_metrics(request_));
    while (is_request && !is_answered) {
      request_->async_status = uwsgi.p[request_->uh->modifier1]->request(request_);
      Engine::end_if_child(0);
      end_loading();
      if (request_->async_status <= UWSGI_OK) break;
      request_->switches++;
      if (should_give_way()) give_way();
    }
  }
  uwsgi.wsgi_req = request_;  // Routing may have left another.
  thread_->async_wait().end();
  // A request outside Python, ended in a wait of uWSGI's own, has said nothing.
  if (thread_->task().interruption().begun() && !request_->headers_sent) failed_ = true;
  thread_->limits().settle();
  if (failed_ && !request_->headers_sent && request_->response_size == 0) answer_failure();
  if (socket_->retry != nullptr) {
    close_after_ = failed_ || !may_be_kept_alive(*request_, framing_ ? *framing_ : framing_of(*request_));
  }
  if (websocket_) end_websocket();
  ending_ = true;
  if (has_after_request_hook()) name_thread();
  uwsgi_close_request(request_);
  harakiri_.end();
  thread_->limits().end();
  python::end_greenlets_of(*thread_);  // Of code that ran after the application.
  uwsgi.wsgi_req = request_;
  request_->async_status = UWSGI_OK;
}

// A request may name its application (UWSGI_FILE, UWSGI_MODULE), and the first has it loaded. Its code may
// wait, and uWSGI's lock for that is for its own threads (--threads). False when this is no request.
bool Core::begin_loading() noexcept {
  if (request_->uh->modifier1 != python_modifier() || request_->uh->pktsize == 0 || request_->is_raw != 0) {
    name_thread();  // Other plugins may call Python, as RPC's does.
    return true;
  }
  if (uwsgi_parse_vars(request_) != 0) {
    request_->async_status = -1;
    return false;
  }
  loading_ = request_->dynamic != 0;
  if (!loading_) return true;
  name_thread();
  engine_.application_loading().lock(*thread_);
  return true;
}

void Core::end_loading() noexcept {
  if (std::exchange(loading_, false)) engine_.application_loading().unlock();
}

// uWSGI alone would close without a word, or send what start_response() had promised.
void Core::answer_failure() noexcept {
  leave_body_out();
  switch (thread_->limits().ended_by()) {
    case EndedBy::kNothing: uwsgi_500(request_); break;
    case EndedBy::kTimeout: answer(request_, "504 Gateway Timeout", "The request took too long."); break;
    case EndedBy::kClientGone: break;
    case EndedBy::kWorkerEnd:
      answer(request_, "503 Service Unavailable", "The server is being restarted.");
      break;
  }
}

// A HEAD request is answered as a GET would be, without the body (RFC 9110, section 9.3.2); uWSGI sends what
// it is given.
void Core::leave_body_out() noexcept {
  if (is_head(*request_)) request_->ignore_body = 1;
}

bool Core::parse_in_fiber() noexcept {
  int status;
  while ((status = socket_->proto(request_)) == UWSGI_AGAIN) {
    note_incomplete();
    if (uwsgi.wait_read_hook(request_->fd, uwsgi.socket_timeout) <= 0) break;
  }
  end_incomplete();
  return status == UWSGI_OK;
}

// A generator yields far more often than others need the CPU: going round the loop for
// each chunk would cost more than the chunk. A yield that sent nothing is one that asks for it.
bool Core::should_give_way() noexcept {
  if (thread_->async_wait().asked()) return true;
  const std::size_t given = request_->response_size + coalesced_.size();
  const bool sent = given != sent_at_yield_ || request_->switches == 1;
  sent_at_yield_ = given;
  if (!sent && engine_.loop().has_callbacks()) return true;
  const double now = loop::monotonic_s();
  if (slice_began_ == 0) slice_began_ = now;
  return now - slice_began_ > kSliceS;
}

// As uWSGI's own async loop has it: the request is to go on in the next turn, unless it waits for something
// it asked uWSGI's async API for, and until then the fiber is suspended.
void Core::give_way() noexcept {
  if (uwsgi.schedule_fix) uwsgi.schedule_fix(request_);
  uwsgi.schedule_to_main(request_);
  python::raise_soon_if_interrupted(*thread_);
  slice_began_ = 0;
}

// --- It is over ---------------------------------------------------------------------------

// On the loop's stack, once serve() has returned and the fiber has been left.
void Core::finished() noexcept {
  thread_->async_wait().end();  // Code that runs after the application may have asked too.
  if (is_kept_alive(*socket_, request_->async_id)) keep_alive();
  else release();
}

void Core::keep_alive() noexcept {
  const int fd = socket_->fd_threads[request_->async_id];
  socket_->retry[request_->async_id] = 0;
  wsgi_req_setup(request_, request_->async_id, socket_);
  request_->fd = fd;
  phase_ = Phase::kKeptAlive;
  if (!readable_.active()) readable_.start(fd, EV_READ);
  set_deadline(uwsgi.socket_timeout);
  join(engine_.pool().idle());
  engine_.connection_is_idle();
}

// No watcher of this connection may hear from it any more, although the request continues, because its number
// may be used again.
void Core::connection_ends() noexcept {
  if (ending_) return;
  readable_.stop();
  coalesced_.drop();
  if (thread_) thread_->limits().stop_watching_client();
  if (websocket_) websocket_->connection_lost();
  if (thread_ && thread_->application() != nullptr) thread_->application()->connection_lost();
  if (connection_) withdraw_connection(std::exchange(connection_, python::PyRef()));
}

// uWSGI's protocol has closed the connection or left it open for the next request.
void Core::connection_ended() noexcept {
  if (!ending_) {
    if (is_kept_alive(*socket_, request_->async_id)) close_kept();
    request_->fd = -1;
#ifdef UWSGI_SSL
    // Its session is freed, and uWSGI would go on with it.
    if (request_->ssl != nullptr) {
      ++request_->write_errors;
      request_->post_pos = request_->post_cl;
    }
#endif
  } else if (!is_kept_alive(*socket_, request_->async_id)) {
    readable_.stop();
  } else if (close_after_) {
    readable_.stop();
    close_kept();
  }
}

void Core::close_kept() noexcept {
  const int core_id = request_->async_id;
  close(std::exchange(socket_->fd_threads[core_id], -1));
  socket_->retry[core_id] = 0;
}

bool Core::quiet() const noexcept {
  assert(phase_ == Phase::kKeptAlive);
  char byte;
  return recv(request_->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

void Core::close_idle_connection() noexcept {
  assert(phase_ == Phase::kKeptAlive);
  leave(engine_.pool().idle());
  engine_.connection_is_busy();
  abandon();
}

void Core::release() noexcept {
  assert(!thread_ || thread_->fiber().idle());
  readable_.stop();
  deadline_ = 0;
  phase_ = Phase::kFree;
  engine_.core_is_free(*this);
}

}  // namespace engine
