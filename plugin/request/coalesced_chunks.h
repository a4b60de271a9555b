// Chunks of a WSGI response that are sent together (--tornado-coalesce).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "plugin/loop/io_loop.h"
#include "plugin/loop/watcher.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

// Chunks that an iterable yields in succession are kept until the request waits, gives way or ends, or until
// there are 64 KiB. Whenever the request stops, the loop sends them, so that transmission continues while the
// application makes the next chunk (PEP 3333). The loop's thread only.
class CoalescedChunks {
 public:
  // `request` outlives it.
  CoalescedChunks(loop::IoLoop& loop, wsgi_request& request) noexcept;
  CoalescedChunks(const CoalescedChunks&) = delete;
  CoalescedChunks& operator=(const CoalescedChunks&) = delete;

  // True for bytes that uWSGI would only write, after the head.
  bool possible() const noexcept;
  // Keeps `chunk`, and sends the chunks kept if these are enough. On the request's fiber. REQUIRES:
  // possible().
  void add(std::string_view chunk);
  // Sends the chunks kept, on the request's fiber, which may wait. uWSGI notes an error in the request.
  void flush() noexcept;
  // The connection is closed.
  void drop() noexcept;
  // Bytes that are not sent yet.
  std::size_t size() const noexcept { return kept_.size(); }

 private:
  void send_some() noexcept;
  void on_writable(int) noexcept { send_some(); }

  loop::IoLoop& loop_;
  wsgi_request& request_;
  loop::IoWatcher<CoalescedChunks, &CoalescedChunks::on_writable> writable_;
  std::string kept_;
  bool due_ = false;  // The loop will send the chunks kept.
};

}  // namespace engine
