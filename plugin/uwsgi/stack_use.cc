#include "plugin/uwsgi/stack_use.h"

#include <sys/mman.h>

#include <cstdint>
#include <string>

#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {
namespace {

// One task in so many has its stack measured, which takes some microseconds. Stacks keep the
// traces of all tasks that ran on them, so none is missed for long.
constexpr unsigned kMeasuredEvery = 1024;

// One for each worker, shared with the master that shows them; null without metrics.
std::int64_t* peaks = nullptr;

void show_peak() noexcept {
  if (peaks != nullptr) peaks[uwsgi.mywid] = static_cast<std::int64_t>(suspend::Stack::deepest());
}

}  // namespace

void register_stack_metrics() noexcept {
  if (!uwsgi.has_metrics) return;
  const std::size_t size = sizeof *peaks * static_cast<std::size_t>(uwsgi.numproc + 1);
  void* const shared = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return;
  peaks = static_cast<std::int64_t*>(shared);
  for (int worker = 1; worker <= uwsgi.numproc; ++worker) {
    std::string name = "worker." + std::to_string(worker) + ".tornado.stack_peak";
    uwsgi_register_metric(name.data(), nullptr, UWSGI_METRIC_GAUGE, const_cast<char*>("ptr"), &peaks[worker], 0, nullptr);
  }
}

void rest(suspend::Fiber& fiber) noexcept {
  static unsigned rested = 0;
  suspend::Stack& stack = fiber.idle_stack();
  const bool trimmed = stack.trim();
  const bool due = rested++ % kMeasuredEvery == 0;
  if (due) stack.measure();
  if (trimmed || due) show_peak();
}

}  // namespace engine
