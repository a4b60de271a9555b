// Shows what the requests of a worker are doing, in Python and in the log.
#pragma once

#include <string>

#include "plugin/module/worker_view.h"
#include "plugin/request/request_thread.h"

namespace engine {

class RequestHost;

class FiberDump final : public python::WorkerView {
 public:
  // With the GIL held.
  explicit FiberDump(const RequestHost& host) noexcept;

  python::PyRef fibers() override;
  python::PyRef dump() override;
  // The dump, in the log. With the GIL held.
  void log() noexcept;

 private:
  const RequestHost& host_;
};

// In the master, in each cycle: the letter d in its FIFO makes every worker log its dump.
void offer_dump_by_fifo() noexcept;

// "GET /path (core 3)", or "a function of spawn()".
std::string title_of(RequestThread& thread);
// The Python stack of `thread`, most recent call last. With the GIL held. Throws PyError.
std::string python_stack_of(RequestThread& thread);

}  // namespace engine
