// The thread that watches the loop's thread.
#pragma once

#include <Python.h>
#include <semaphore.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace python {

// A place where one thread sleeps and others wake it.
class Doorbell {
 public:
  Doorbell() noexcept { sem_init(&doorbell_, 0, 0); }

  // For the sleeper: until this time of monotonic_ns(), or a ring().
  void sleep_until(std::int64_t ns) noexcept { hear(ns); }
  // The same, also until wake(). Does not sleep where is_news() after wake() began to be heard.
  template <typename IsNews>
  void sleep_until_woken(std::int64_t ns, IsNews is_news) noexcept {
    asleep_.store(true);  // Sequentially consistent, as is the news: one of the two sees the other.
    const bool heard = !is_news() && hear(ns);
    // Whoever took the flag rings for sure: that ring is heard here.
    if (!asleep_.exchange(false) && !heard) hear(kNever);
  }

  // Any thread. Costs one load if nobody sleeps so.
  void wake() noexcept {
    if (asleep_.load() && asleep_.exchange(false)) ring();
  }
  void ring() noexcept;

 private:
  static constexpr std::int64_t kNever = INT64_MAX;

  // Returns false if the time came first.
  bool hear(std::int64_t until_ns) noexcept;

  sem_t doorbell_;
  std::atomic<bool> asleep_{false};
};

// One thread for everything that must be watched from outside the loop's thread. It gets no signals, keeps no
// descriptors, and has a Python thread state to take the GIL with.
class Watchdog {
 public:
  static constexpr std::int64_t kUntilWoken = -1;
  // The same, but a time set by another duty is soon enough. So wake() need not wake the thread for each
  // piece of news while another duty has such a time.
  static constexpr std::int64_t kWithOthers = INT64_MAX;

  class Duty {
   public:
    // On the watchdog's thread, without the GIL. Returns in how many ns to look again, kUntilWoken or
    // kWithOthers.
    // May throw the exception by which CPython unwinds a thread that wants the GIL as Python ends.
    virtual std::int64_t look(Watchdog& watchdog) = 0;
    // Called repeatedly while the watchdog waits for the GIL on behalf of another duty. Must not block,
    // because the GIL's mutex is held.
    virtual void look_meanwhile() noexcept {}
    // Whether there is something to check since look() returned kUntilWoken.
    virtual bool is_news() const noexcept { return false; }

   protected:
    ~Duty() = default;
  };

  Watchdog() = default;
  ~Watchdog() { stop(); }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // Before start(). `duty` must outlive the thread.
  void add(Duty& duty) { duties_.push_back(&duty); }
  // Does nothing if there is no duty. Throws std::system_error.
  void start();
  // With the GIL held, which is released meanwhile, because the thread may be waiting for it.
  void stop() noexcept;

  // Announces news. Any thread. Cheap unless the watchdog sleeps until it is woken.
  static void wake() noexcept { doorbell_.wake(); }

  // The calling thread will wait for the GIL next.
  static void on_gil_wait() noexcept {
    if (waits_here_ != nullptr) waits_here_->look_meanwhile();
  }

  // For duties. Between the two the thread holds the GIL.
  void take_gil();
  void give_gil_back() { PyEval_SaveThread(); }

 private:
  void watch();
  void look_and_sleep();
  void look_meanwhile() noexcept;

  static inline Doorbell doorbell_;
  static inline thread_local Watchdog* waits_here_ = nullptr;

  std::vector<Duty*> duties_;
  std::atomic<bool> stopping_{false};
  PyThreadState* state_ = nullptr;
  std::thread thread_;
};

}  // namespace python
