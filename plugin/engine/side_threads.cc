#include "plugin/engine/side_threads.h"

#include <algorithm>

#include "plugin/engine/engine.h"
#include "plugin/greenlet/greenlet.h"
#include "plugin/loop/clock.h"

namespace engine {

struct SideThreads::Thread {
  explicit Thread(SideThreads& owner)
      : threads(owner),
        virtual_thread(owner.engine_.hub(), owner.engine_.loop(), owner.engine_.stack_size(), &request,
                       loop::Callback{[](void* self) noexcept { static_cast<Thread*>(self)->finished(); }, this}) {
    request.fd = -1;  // Nobody asked for what it does.
  }

  void start() noexcept {
    virtual_thread.begin(loop::monotonic_s());
    virtual_thread.fiber().start(
        [](void* self) noexcept {
          auto* const thread = static_cast<Thread*>(self);
          thread->run(thread->argument);
          python::end_greenlets_of(thread->virtual_thread);
          thread->virtual_thread.async_wait().end();
        },
        this);
  }

  void finished() noexcept {
    --threads.running_;
    threads.free_.push_back(this);
    if (threads.engine_.draining()) threads.engine_.drain();
  }

  SideThreads& threads;
  wsgi_request request{};
  void (*run)(void*) noexcept = nullptr;
  void* argument = nullptr;
  RequestThread virtual_thread;
};

SideThreads::SideThreads(Engine& engine) noexcept : engine_(engine) {}

SideThreads::~SideThreads() = default;

SideThreads::Thread& SideThreads::take() {
  if (free_.empty()) {
    free_.reserve(threads_.size() + 1);  // finished() must not throw.
    threads_.push_back(std::make_unique<Thread>(*this));
    return *threads_.back();
  }
  Thread& thread = *free_.back();
  free_.pop_back();
  return thread;
}

RequestThread* SideThreads::thread_of(const wsgi_request* request) noexcept {
  const auto found = std::find_if(threads_.begin(), threads_.end(),
                                  [=](const auto& thread) { return &thread->request == request; });
  return found == threads_.end() ? nullptr : &(*found)->virtual_thread;
}

std::vector<RequestThread*> SideThreads::all_running() const {
  std::vector<RequestThread*> found;
  for (const auto& thread : threads_) {
    if (!thread->virtual_thread.fiber().idle()) found.push_back(&thread->virtual_thread);
  }
  return found;
}

void SideThreads::spawn(void (*run)(void*) noexcept, void* argument) {
  // A new thread state is made with the hub's attached.
  const bool in_fiber = RequestThread::current() != nullptr;
  if (in_fiber && free_.empty()) {
    struct Order {
      SideThreads* threads;
      void (*run)(void*) noexcept;
      void* argument;
    };
    auto order = std::make_unique<Order>(Order{this, run, argument});
    ++running_;
    engine_.loop().add_callback({[](void* given) noexcept {
                                   const std::unique_ptr<Order> taken(static_cast<Order*>(given));
                                   --taken->threads->running_;
                                   taken->threads->spawn(taken->run, taken->argument);
                                 },
                                 order.release()});
    return;
  }
  Thread& thread = take();
  thread.run = run;
  thread.argument = argument;
  ++running_;
  if (!in_fiber) {
    thread.start();
    return;
  }
  engine_.loop().add_callback({[](void* self) noexcept { static_cast<Thread*>(self)->start(); }, &thread});
}

}  // namespace engine
