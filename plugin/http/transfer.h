// One running request, and what has arrived so far.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "plugin/http/libcurl.h"
#include "plugin/http/request.h"
#include "plugin/http/response_head.h"

namespace http {

class Client;
class Transfer;

class TransferObserver {
 public:
  // Data has arrived, more of the request's body is wanted, or the transfer has ended. Called from the loop,
  // outside libcurl; may destroy the transfer.
  virtual void progressed(Transfer& transfer) noexcept = 0;
  // It ended because its loop ended; the transfer may be destroyed. Nothing can be waited for any more.
  virtual void loop_ended(Transfer&) noexcept {}

 protected:
  ~TransferObserver() = default;
};

// Seconds, since the transfer began.
struct Timings {
  double namelookup = 0, connect = 0, appconnect = 0, pretransfer = 0, starttransfer = 0, total = 0,
         redirect = 0;
};

#ifdef UWSGI_TORNADO_DEBUG
inline std::atomic<int> live_transfers{0};
#endif

// On its client's thread. Destroying it before its end cancels it, and closes its connection.
class Transfer {
 public:
  // `client` may end first; then the transfer ends with an error. Throws std::invalid_argument if libcurl
  // rejects the request, std::bad_alloc.
  Transfer(Client& client, Request request);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  // Sets the observer; null for none. It must outlive the transfer or be replaced.
  void observe(TransferObserver* observer) noexcept { observer_ = observer; }

  // Call it once. The request goes out before the loop next sleeps.
  void start();

  const Request& request() const noexcept { return request_; }

  // --- The response ---------------------------------------------------------------------------

  // The head is that of the final response: redirects, 1xx and challenges are over.
  bool has_head() const noexcept { return has_head_; }
  // 0 before any came.
  int status() const noexcept { return head_.status(); }
  // "1.1", "2"; empty before any head came.
  const std::string& http_version() const noexcept { return head_.http_version(); }
  const std::string& reason() const noexcept { return head_.reason(); }
  // Lines of the last head without their ends and without the status line; trailers too.
  const std::vector<std::string>& header_lines() const noexcept { return head_.lines(); }
  // Every line as it came, since the last call. For a request that keeps them.
  std::vector<std::string> take_raw_header_lines() noexcept { return std::exchange(raw_lines_, {}); }

  // The part of the body that arrived since the last call. Resumes a sender that was held back.
  std::string take_body();
  bool body_has_come() const noexcept { return !body_.empty(); }

  bool done() const noexcept { return done_; }
  // CURLE_OK if the response is complete. After done().
  CURLcode result() const noexcept { return result_; }
  const std::string& error() const noexcept { return error_; }
  // After done(); of a streamed transfer also with its head, as of then.
  const std::string& effective_url() const noexcept { return effective_url_; }
  const Timings& timings() const noexcept { return timings_; }

  // --- The request's body, where it is given later ------------------------------------------

  // libcurl has nothing to send until give_body() or end_body().
  bool wants_body() const noexcept { return wants_body_; }
  // How many bytes of it have not been sent yet.
  std::size_t body_waiting() const noexcept { return given_.size() - sent_; }
  void give_body(const char* data, std::size_t size);
  void end_body();
  bool body_is_whole() const noexcept { return !request_.body_is_given_later || given_all_; }

 private:
  friend class Client;

  struct FreeList {
    void operator()(curl_slist* list) const noexcept { libcurl().slist_free_all(list); }
  };

  void set_up();
  void set_up_callbacks();
  void set_up_limits();
  void set_up_protocol();
  void set_up_credentials();
  void set_up_method();
  void set_up_body();
  void set_up_headers();
  void add_header_line(const char* line);
  void fail(std::string why) noexcept;
  std::size_t take_header(const char* data, std::size_t size);
  std::size_t take_body_part(const char* data, std::size_t size);
  std::size_t hand_body_over(char* buffer, std::size_t size) noexcept;
  void go_on_sending();
  int seek(curl_off_t offset, int origin) noexcept;
  // Called by the client: libcurl has finished with it.
  void end(CURLcode result);
  void head_came();
  void take_info();
  void touched() noexcept;

  static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* self) noexcept;
  static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* self) noexcept;
  static std::size_t on_read(char* buffer, std::size_t size, std::size_t count, void* self) noexcept;
  static int on_seek(void* self, curl_off_t offset, int origin) noexcept;

#ifdef UWSGI_TORNADO_DEBUG
  struct Counted {
    Counted() noexcept { ++live_transfers; }
    ~Counted() { --live_transfers; }
  } const counted_;
#endif

  Client* client_;
  const Request request_;
  TransferObserver* observer_ = nullptr;
  CURL* easy_;
  std::unique_ptr<curl_slist, FreeList> header_list_;
  std::array<char, CURL_ERROR_SIZE> error_buffer_{};

  ResponseHead head_;
  std::vector<std::string> raw_lines_;
  std::string body_;
  std::int64_t body_size_ = 0;
  std::string given_;  // Of the request's body: what libcurl has not sent yet.
  std::size_t sent_ = 0;
  std::int64_t given_size_ = 0;

  bool has_head_ = false;
  bool started_ = false;
  bool receiving_paused_ = false;
  bool wants_body_ = false;
  bool given_all_ = false;
  bool has_wrong_size_ = false;  // The body given later has another length than announced.
  bool done_ = false;
  bool is_touched_ = false;  // On the client's list of those whose observer is to be called.
  bool is_woken_ = false;    // On its list of those to resume.
  CURLcode result_ = CURLE_OK;
  std::string error_;
  std::string effective_url_;
  Timings timings_;
};

}  // namespace http
