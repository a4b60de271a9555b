#include "plugin/http/client.h"

#include <pthread.h>

#include <algorithm>
#include <cassert>
#include <new>
#include <stdexcept>
#include <string>

namespace http {
namespace {

// How often in a row libcurl is called at once when it asks for that.
constexpr int kRoundsMax = 8;
// Handles kept for the next transfer, each of a few KiB.
constexpr std::size_t kSpareMax = 64;
// Idle connections kept.
constexpr long kConnectionsMax = 512;

template <typename List>
void erase(List& list, Transfer* transfer) noexcept {
  list.erase(std::remove(list.begin(), list.end(), transfer), list.end());
}

}  // namespace

Client& Client::of(loop::IoLoop& loop) {
  auto* const known = loop.part<Client>();
  if (known != nullptr && known->is_of_this_process()) return *known;
  if (known != nullptr) loop.drop(*known);
  std::unique_ptr<Client> made(new Client(loop));
  Client& client = *made;
  loop.keep(std::move(made));
  return client;
}

Client::Client(loop::IoLoop& loop)
    : loop_(loop), timer_(loop.raw(), this), tells_(loop.raw(), this), before_poll_(loop.raw(), this) {
  static const int watching = pthread_atfork(nullptr, nullptr, [] { ++fork_generation; });
  static_cast<void>(watching);
  multi_.reset(libcurl().multi_init());
  if (!multi_) throw std::bad_alloc();
  libcurl().multi_setopt(multi_.get(), CURLMOPT_SOCKETFUNCTION, &on_socket);
  libcurl().multi_setopt(multi_.get(), CURLMOPT_SOCKETDATA, this);
  libcurl().multi_setopt(multi_.get(), CURLMOPT_TIMERFUNCTION, &on_timer);
  libcurl().multi_setopt(multi_.get(), CURLMOPT_TIMERDATA, this);
  libcurl().multi_setopt(multi_.get(), CURLMOPT_MAXCONNECTS, kConnectionsMax);
}

Client::~Client() {
  const bool own = is_of_this_process();
  // An observer may destroy its transfer, or others.
  while (!transfers_.empty()) {
    Transfer* const transfer = *transfers_.begin();
    transfers_.erase(transfers_.begin());
    if (own) {
      libcurl().multi_remove_handle(multi_.get(), transfer->easy_);
      libcurl().easy_cleanup(transfer->easy_);
    }
    transfer->client_ = nullptr;
    transfer->easy_ = nullptr;
    if (transfer->done_) continue;
    transfer->done_ = true;
    transfer->result_ = CURLE_ABORTED_BY_CALLBACK;
    transfer->fail("the event loop ended before the transfer");
    if (own && transfer->observer_ != nullptr) transfer->observer_->loop_ended(*transfer);
  }
  if (own) {
    for (CURL* const easy : spare_) libcurl().easy_cleanup(easy);
  } else {
    // The connections are the parent's: not a byte, no goodbye of TLS either, may be sent on them.
    static_cast<void>(multi_.release());
  }
}

void Client::destroy(std::unique_ptr<Transfer> transfer) noexcept {
  if (!transfer) return;
  Client* const client = transfer->client_;
  if (client == nullptr || !client->is_of_this_process() || client->thread_ == gettid()) return;
  transfer->observe(nullptr);
  client->loop_.add_callback_threadsafe(
      {[](void* dying) noexcept { delete static_cast<Transfer*>(dying); }, transfer.release()});
}

std::size_t Client::in_flight() const noexcept {
  return static_cast<std::size_t>(
      std::count_if(transfers_.begin(), transfers_.end(), [](const Transfer* transfer) {
        return transfer->started_ && !transfer->done_ && !transfer->request().streamed;
      }));
}

// --- For Transfer -------------------------------------------------------------------------------

CURL* Client::take_easy() {
  if (!spare_.empty()) {
    CURL* const easy = spare_.back();
    spare_.pop_back();
    return easy;
  }
  CURL* const easy = libcurl().easy_init();
  if (easy == nullptr) throw std::bad_alloc();
  return easy;
}

void Client::give_easy_back(CURL* easy, bool may_be_used_again) noexcept {
  if (!may_be_used_again || spare_.size() == kSpareMax) {
    libcurl().easy_cleanup(easy);
    return;
  }
  libcurl().easy_reset(easy);
  spare_.push_back(easy);
}

void Client::start(Transfer& transfer) {
  starting_.push_back(&transfer);
  pass_soon();
}

// The transfer goes; one that is under way ends here.
void Client::forget(Transfer& transfer) noexcept {
  CURL* const easy = std::exchange(transfer.easy_, nullptr);
  transfers_.erase(&transfer);
  erase(starting_, &transfer);
  erase(woken_, &transfer);
  erase(touched_, &transfer);
  if (!is_of_this_process()) return;
  assert(thread_ == gettid());
  libcurl().multi_remove_handle(multi_.get(), easy);  // Does nothing for one that was not added.
  // A reset leaves cookies, and whatever else an option of libcurl's own has switched on.
  give_easy_back(easy, !transfer.request_.has_curl_options());
  if (overdue_) pass_soon();
}

void Client::wake(Transfer& transfer) {
  if (transfer.is_woken_) return;
  transfer.is_woken_ = true;
  woken_.push_back(&transfer);
  pass_soon();
}

void Client::touch(Transfer& transfer) {
  if (transfer.is_touched_) return;
  transfer.is_touched_ = true;
  touched_.push_back(&transfer);
}

void Client::pass_soon() noexcept {
  if (!in_curl_ && !before_poll_.active()) before_poll_.start();
}

// --- From the loop ------------------------------------------------------------------------------

// Does not call observers here, because callbacks that they add for the next turn would wait for this poll.
void Client::on_before_poll() noexcept {
  before_poll_.stop();
  pass();
  if (!touched_.empty() && !tells_.active()) tells_.start(0);
}

void Client::on_time() noexcept {
  overdue_ = true;
  pass();
  rearm_timer();
  tell();
}

// libcurl's clock may say that it is too early, and libcurl does not ask again for the same time.
void Client::rearm_timer() noexcept {
  long timeout_ms = -1;
  if (timer_.active() || libcurl().multi_timeout(multi_.get(), &timeout_ms) != CURLM_OK || timeout_ms < 0)
    return;
  timer_.start(static_cast<double>(std::max(timeout_ms, 1L)) / 1000);
}

void Client::on_socket_ready(int fd, int revents) noexcept {
  const int what = ((revents & EV_READ) != 0 ? CURL_CSELECT_IN : 0) |
                   ((revents & EV_WRITE) != 0 ? CURL_CSELECT_OUT : 0) |
                   ((revents & EV_ERROR) != 0 ? CURL_CSELECT_ERR : 0);
  act(fd, what);
  tell();
}

// All that waits for libcurl: new transfers, resumed transfers, and due timers.
void Client::pass() noexcept {
  in_curl_ = true;
  for (Transfer* const transfer : std::exchange(starting_, {})) {
    const CURLMcode added = libcurl().multi_add_handle(multi_.get(), transfer->easy_);
    if (added != CURLM_OK)
      transfer->end(added == CURLM_OUT_OF_MEMORY ? CURLE_OUT_OF_MEMORY : CURLE_FAILED_INIT);
  }
  for (Transfer* const transfer : std::exchange(woken_, {})) {
    transfer->is_woken_ = false;
    if (!transfer->done_) libcurl().easy_pause(transfer->easy_, CURLPAUSE_CONT);
  }
  in_curl_ = false;
  if (overdue_) act(CURL_SOCKET_TIMEOUT, 0);
}

void Client::act(int fd, int what) noexcept {
  in_curl_ = true;
  overdue_ = false;
  int running;
  libcurl().multi_socket_action(multi_.get(), fd, what, &running);
  for (int round = 1; overdue_ && round < kRoundsMax; ++round) {
    overdue_ = false;
    libcurl().multi_socket_action(multi_.get(), CURL_SOCKET_TIMEOUT, 0, &running);
  }
  in_curl_ = false;
  collect();
  if (overdue_ || !woken_.empty() || !starting_.empty()) pass_soon();
}

// Those libcurl is through with.
void Client::collect() noexcept {
  int left;
  while (CURLMsg* const message = libcurl().multi_info_read(multi_.get(), &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode result = message->data.result;
    CURL* const easy = message->easy_handle;
    char* found = nullptr;
    libcurl().easy_getinfo(easy, CURLINFO_PRIVATE, &found);
    auto* const transfer = reinterpret_cast<Transfer*>(found);
    transfer->end(result);
    libcurl().multi_remove_handle(multi_.get(), easy);
  }
}

// An observer may end transfers, or turn the loop, which comes by here again.
void Client::tell() noexcept {
  while (!touched_.empty()) {
    Transfer* const transfer = touched_.front();
    touched_.pop_front();
    transfer->is_touched_ = false;
    if (transfer->observer_ != nullptr) transfer->observer_->progressed(*transfer);
  }
}

// --- Called by libcurl --------------------------------------------------------------------------

int Client::on_socket(CURL*, curl_socket_t fd, int what, void* self, void*) noexcept {
  auto* const client = static_cast<Client*>(self);
  if (what == CURL_POLL_REMOVE) {
    client->sockets_.erase(fd);
    return 0;
  }
  Socket& socket = client->sockets_.try_emplace(fd, *client, fd).first->second;
  socket.watcher.stop();
  const int events =
      ((what & CURL_POLL_IN) != 0 ? EV_READ : 0) | ((what & CURL_POLL_OUT) != 0 ? EV_WRITE : 0);
  if (events != 0) socket.watcher.start(fd, events);
  return 0;
}

int Client::on_timer(CURLM*, long timeout_ms, void* self) noexcept {
  auto* const client = static_cast<Client*>(self);
  client->timer_.stop();
  client->overdue_ = timeout_ms == 0;
  if (timeout_ms > 0) client->timer_.start(static_cast<double>(timeout_ms) / 1000);
  else if (timeout_ms == 0) client->pass_soon();
  return 0;
}

}  // namespace http
