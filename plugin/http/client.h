// libcurl's transfers on the IOLoop.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <deque>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "plugin/http/libcurl.h"
#include "plugin/http/transfer.h"
#include "plugin/loop/io_loop.h"
#include "plugin/loop/watcher.h"

namespace http {

// The transfers of one loop, and the connections kept for later ones. On the loop's thread.
//
// libcurl is never entered from one of its own callbacks, and observers are not called from there: what must
// be started, resumed or reported is listed, and pass() and tell() do it in the loop's next step.
class Client final : public loop::IoLoop::Part {
 public:
  // The loop's client, made on the first call. A forked child has its own, and cannot reach the parent's
  // transfers. Throws std::runtime_error.
  static Client& of(loop::IoLoop& loop);

  ~Client() override;

  // Destroys `transfer` on its client's thread, from any thread. With the lock held that separates these
  // threads (the GIL).
  static void destroy(std::unique_ptr<Transfer> transfer) noexcept;

  // Transfers started and not yet finished, except streams, which may have no end.
  std::size_t in_flight() const noexcept;
  loop::IoLoop& loop() const noexcept { return loop_; }

 private:
  friend class Transfer;

  // A socket of libcurl's. Lives from its first mention to its CURL_POLL_REMOVE.
  struct Socket {
    Socket(Client& of, int descriptor) noexcept : client(of), fd(descriptor), watcher(of.loop_.raw(), this) {}
    void on_ready(int revents) noexcept { client.on_socket_ready(fd, revents); }

    Client& client;
    const int fd;
    loop::IoWatcher<Socket, &Socket::on_ready> watcher;
  };
  struct CleanUpMulti {
    void operator()(CURLM* multi) const noexcept { libcurl().multi_cleanup(multi); }
  };

  explicit Client(loop::IoLoop& loop);
  bool is_of_this_process() const noexcept { return generation_ == fork_generation; }

  // For Transfer. A returned handle is used again.
  CURL* take_easy();
  void give_easy_back(CURL* easy, bool may_be_used_again) noexcept;
  void know(Transfer& transfer) { transfers_.insert(&transfer); }
  void start(Transfer& transfer);
  void forget(Transfer& transfer) noexcept;
  void wake(Transfer& transfer);
  void touch(Transfer& transfer);

  void on_socket_ready(int fd, int revents) noexcept;
  void on_time() noexcept;
  void on_before_poll() noexcept;
  void pass() noexcept;
  void act(int fd, int what) noexcept;
  void rearm_timer() noexcept;
  void collect() noexcept;
  void tell() noexcept;
  void pass_soon() noexcept;

  static int on_socket(CURL* easy, curl_socket_t fd, int what, void* self, void* socket) noexcept;
  static int on_timer(CURLM* multi, long timeout_ms, void* self) noexcept;

  static inline int fork_generation = 0;

  loop::IoLoop& loop_;
  const pid_t thread_ = gettid();  // The kernel's number, because a fiber has its own pthread_t.
  const int generation_ = fork_generation;
  std::vector<CURL*> spare_;
  std::vector<Transfer*> starting_;
  std::vector<Transfer*> woken_;
  std::deque<Transfer*> touched_;
  std::unordered_set<Transfer*> transfers_;  // Until they are destroyed.
  std::unordered_map<int, Socket> sockets_;
  loop::TimerWatcher<Client, &Client::on_time> timer_;
  loop::TimerWatcher<Client, &Client::tell> tells_;
  loop::PrepareWatcher<Client, &Client::on_before_poll> before_poll_;
  bool in_curl_ = false;
  bool overdue_ = false;  // libcurl asked to be called at once.
  // Last, so that it ends first: it calls back as it does.
  std::unique_ptr<CURLM, CleanUpMulti> multi_;
};

}  // namespace http
