#include "plugin/blocking/offload.h"

#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>

namespace blocking {
namespace {

// As many slow look-ups at once; more wait for a helper that is done.
constexpr int kHelpersMax = 128;
constexpr std::size_t kHelperStackSize = 256u << 10;
constexpr std::chrono::seconds kIdleLife{10};

// Threads are started as work comes and end when there has been none for a while. They are
// not Python's: none holds a thread state.
class Helpers {
 public:
  bool start(Job& job) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_ <= static_cast<int>(jobs_.size()) && count_ < kHelpersMax) add_helper();
    if (count_ == 0) return false;
    jobs_.push_back(&job);
    work_.notify_one();
    return true;
  }

 private:
  void add_helper() noexcept {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, kHelperStackSize);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    // Signals are for the worker's main thread; a new thread inherits the mask.
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    if (pthread_create(&thread, &attributes, &Helpers::help, this) == 0) ++count_;
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pthread_attr_destroy(&attributes);
  }

  static void* help(void* self) noexcept {
    static_cast<Helpers*>(self)->work();
    return nullptr;
  }

  void work() noexcept {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      ++idle_;
      const bool found = work_.wait_for(lock, kIdleLife, [this] { return !jobs_.empty(); });
      --idle_;
      if (!found) break;
      Job* job = jobs_.front();
      jobs_.pop_front();
      lock.unlock();
      job->run(job->argument);
      gate_loop().add_callback_threadsafe(resumes(*job->fiber));
      lock.lock();
    }
    --count_;
  }

  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<Job*> jobs_;
  int idle_ = 0;
  int count_ = 0;
};

Helpers& helpers() noexcept {
  static Helpers* const forever = new Helpers;  // Its threads run until the process ends.
  return *forever;
}

}  // namespace

bool start_job(Job& job) noexcept { return helpers().start(job); }

}  // namespace blocking
