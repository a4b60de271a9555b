#include "plugin/engine/overload.h"

namespace engine {

void Overload::change(State to) noexcept {
  state_ = to;
  host_.overload_changed();
}

void Overload::cores_ran_out() noexcept {
  if (wait_s_ < 0) return;
  if (state_ == State::kCalm) {
    change(State::kWaiting);
    host_.call_due_in(wait_s_);
  } else if (state_ == State::kEasing) {
    change(State::kRefusing);
    host_.call_off();
  }
}

void Overload::demand_met() noexcept {
  if (state_ == State::kWaiting) {
    change(State::kCalm);
    host_.call_off();
  } else if (state_ == State::kRefusing) {
    change(State::kEasing);
    host_.call_due_in(kEaseS);
  }
}

void Overload::due() noexcept {
  if (state_ == State::kEasing) {
    change(State::kCalm);
    host_.refusing_ends();
  } else if (state_ == State::kWaiting && host_.demand_is_met()) {
    change(State::kCalm);
  } else if (state_ == State::kWaiting) {
    change(State::kRefusing);
    host_.refusing_begins();
  }
}

}  // namespace engine
