#include "plugin/engine/spawned_threads.h"

#include <algorithm>
#include <new>
#include <utility>

#include "plugin/engine/engine.h"
#include "plugin/greenlet/greenlet.h"
#include "plugin/loop/clock.h"

namespace engine {
namespace {

// How long one waits that there was no memory for, until another look.
constexpr double kRetryS = 0.05;

}  // namespace

struct SpawnedThreads::Thread {
  Thread(SpawnedThreads& owner, Order given)
      : threads(owner),
        order(given),
        virtual_thread(
            owner.engine_.hub(), owner.engine_.loop(), owner.engine_.stack_size(), &request,
            loop::Callback{[](void* self) noexcept { static_cast<Thread*>(self)->finished(); }, this}) {
    request.fd = -1;  // Nobody asked for what it does.
  }

  void start() noexcept {
    virtual_thread.begin(loop::monotonic_s());
    virtual_thread.fiber().start(
        [](void* self) noexcept {
          auto* const thread = static_cast<Thread*>(self);
          thread->order.run(thread->order.argument);
          python::end_greenlets_of(thread->virtual_thread);
          thread->virtual_thread.async_wait().end();
        },
        this);
  }

  // In the middle of its last switch.
  void finished() noexcept {
    threads.engine_.loop().add_callback({[](void* self) noexcept {
                                           auto* const thread = static_cast<Thread*>(self);
                                           thread->threads.end(*thread);
                                         },
                                         this});
  }

  SpawnedThreads& threads;
  const Order order;
  wsgi_request request{};
  RequestThread virtual_thread;
  bool idle = false;
};

SpawnedThreads::SpawnedThreads(Engine& engine) noexcept
    : engine_(engine), retry_(engine.loop().raw(), this) {}

SpawnedThreads::~SpawnedThreads() = default;

RequestThread* SpawnedThreads::thread_of(const wsgi_request* request) noexcept {
  const auto found = threads_.find(request);
  return found == threads_.end() ? nullptr : &found->second->virtual_thread;
}

std::vector<RequestThread*> SpawnedThreads::all_running() const {
  std::vector<RequestThread*> found;
  for (const auto& [request, thread] : threads_) {
    if (!thread->idle && !thread->virtual_thread.fiber().idle()) found.push_back(&thread->virtual_thread);
  }
  return found;
}

void SpawnedThreads::set_idle(bool idle) noexcept {
  RequestThread* const caller = RequestThread::current();
  const auto found = caller == nullptr ? threads_.end() : threads_.find(caller->request());
  if (found == threads_.end() || std::exchange(found->second->idle, idle) == idle) return;
  idle_ += idle ? 1 : -1;
  if (idle && engine_.draining()) engine_.drain_soon();  // It may have been the last that did something.
}

// A new thread state is made with the hub's attached, so a request's begins in the next turn.
void SpawnedThreads::spawn(void (*run)(void*) noexcept, void* argument) {
  if (RequestThread::current() == nullptr) {
    begin({run, argument});
    return;
  }
  ordered_.push_back({run, argument});
  ++running_;
  if (std::exchange(looks_, true)) return;
  engine_.loop().add_callback(
      {[](void* self) noexcept { static_cast<SpawnedThreads*>(self)->begin_ordered(); }, this});
}

void SpawnedThreads::begin(Order order) {
  auto made = std::make_unique<Thread>(*this, order);
  Thread& thread = *made;
  threads_.emplace(&thread.request, std::move(made));
  ++running_;
  thread.start();
}

// Where there is no memory for one, those that run may end and leave some.
void SpawnedThreads::begin_ordered() noexcept {
  looks_ = false;
  for (std::size_t left = ordered_.size(); left > 0; --left) {
    const Order order = ordered_.front();
    ordered_.pop_front();  // First: what begins may have the loop turn.
    --running_;
    try {
      begin(order);
    } catch (const std::bad_alloc&) {
      ordered_.push_front(order);  // Where it was: there is room.
      ++running_;
      looks_ = true;
      retry_.start(kRetryS);
      return;
    }
  }
}

void SpawnedThreads::end(Thread& thread) noexcept {
  threads_.erase(&thread.request);
  --running_;
  if (engine_.draining()) engine_.drain();
}

}  // namespace engine
