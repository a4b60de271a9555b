// Decides when connections that find no core in time are refused. Independent of uWSGI, loop and clock.
#pragma once

namespace engine {

// The owner of the cores and connections.
class OverloadHost {
 public:
  // Must call Overload::due() once, after `seconds`, unless call_off() comes first.
  virtual void call_due_in(double seconds) noexcept = 0;
  virtual void call_off() noexcept = 0;
  // A core is free and nobody waits for it.
  virtual bool demand_is_met() const noexcept = 0;
  // The answer of refusing() may have changed; refusing begins; it ends.
  virtual void overload_changed() noexcept = 0;
  virtual void refusing_begins() noexcept = 0;
  virtual void refusing_ends() noexcept = 0;

 protected:
  ~OverloadHost() = default;
};

// With --tornado-overload-status: once all cores of all workers have been busy for --tornado-overload-wait
// while connections waited, connections that find no core are answered at once, until cores stay free.
//
// calm -> waiting -> refusing <-> easing -> calm; the loop's thread only.
class Overload {
 public:
  // Cores must stay free that long for the overload to be over.
  static constexpr double kEaseS = 1;

  // `wait_s` below 0: nobody is ever refused.
  Overload(OverloadHost& host, double wait_s) noexcept : host_(host), wait_s_(wait_s) {}

  // Called when no core is left.
  void cores_ran_out() noexcept;
  // Called when a core is free and nobody waits for it.
  void demand_met() noexcept;
  // Called when the time of call_due_in() has passed.
  void due() noexcept;

  bool calm() const noexcept { return state_ == State::kCalm; }
  bool refusing() const noexcept { return state_ == State::kRefusing; }

 private:
  enum class State { kCalm, kWaiting, kRefusing, kEasing };

  void change(State to) noexcept;

  OverloadHost& host_;
  const double wait_s_;
  State state_ = State::kCalm;
};

}  // namespace engine
