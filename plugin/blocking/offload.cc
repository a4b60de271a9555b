#include "plugin/blocking/offload.h"

#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "suspend/signals_blocked.h"

namespace blocking {
namespace {

// As many slow look-ups at once; more wait for a helper that is done. Helpers that wait for
// what other requests or processes do are not counted: those 128 in a file lock would keep the
// lock's holder from the fsync() it does before it unlocks. There is at most one for each
// suspended request.
constexpr int kWorkersMax = 128;
constexpr std::size_t kHelperStackSize = 256u << 10;
constexpr std::chrono::seconds kIdleLife{10};

// Threads are started as work comes and end when there has been none for a while. They are
// not Python's: none holds a thread state.
class Helpers {
 public:
  bool start(Job& job) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    const bool waits = job.kind == JobKind::kWait;
    const bool all_have_work = idle_ <= static_cast<int>(jobs_.size());
    const bool may_add = waits || workers() < kWorkersMax;
    const bool added = all_have_work && may_add && add_helper();
    const bool will_run = waits ? added || !all_have_work : workers() > 0;
    if (!will_run) return false;
    if (waits) ++waits_;
    jobs_.push_back(&job);
    work_.notify_one();
    return true;
  }

 private:
  // Those that are not taken, or about to be, by a job that waits for others.
  int workers() const noexcept { return count_ - waits_; }

  bool add_helper() noexcept {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, kHelperStackSize);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    const suspend::SignalsBlocked for_the_helper;
    pthread_t thread;
    const bool created = pthread_create(&thread, &attributes, &Helpers::help, this) == 0;
    if (created) ++count_;
    pthread_attr_destroy(&attributes);
    return created;
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
      const bool waits = job->kind == JobKind::kWait;
      lock.unlock();
      job->run(job->argument);
      lock.lock();
      if (waits) --waits_;
      job->baton->post_soon();  // From here on the job may be gone: its fiber runs.
    }
    --count_;
  }

  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<Job*> jobs_;
  int idle_ = 0;
  int count_ = 0;
  int waits_ = 0;  // Jobs that wait for others, queued or under way.
};

Helpers& helpers() noexcept {
  static Helpers* const forever = new Helpers;  // Its threads run until the process ends.
  return *forever;
}

}  // namespace

bool start_job(Job& job) noexcept { return helpers().start(job); }

}  // namespace blocking
