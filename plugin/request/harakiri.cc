#include "plugin/request/harakiri.h"

#include <unistd.h>

#include <algorithm>
#include <set>

#include "plugin/request/request_host.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {
namespace {

// Deadlines of requests; 0 is none.
class Deadlines {
 public:
  void change(time_t& own, time_t to) noexcept {
    if (own != 0) deadlines_.erase(deadlines_.find(own));
    if (to != 0) deadlines_.insert(to);
    own = to;
  }
  bool empty() const noexcept { return deadlines_.empty(); }
  time_t earliest() const noexcept { return deadlines_.empty() ? 0 : *deadlines_.begin(); }

 private:
  std::multiset<time_t> deadlines_;
};

Deadlines by_option;
Deadlines by_users;

void look_after_harakiri() noexcept {
  if (RequestHost* const host = RequestHost::instance()) host->harakiri_set();
}

uwsgi_worker& worker() noexcept { return uwsgi.workers[uwsgi.mywid]; }

// Without a master the worker's alarm clock ends it, as in set_harakiri(), in the second in which a
// master would.
void show_earliest() noexcept {
  const time_t earliest = by_option.earliest();
  worker().harakiri = earliest;
  if (uwsgi.master_process) return;
  alarm(earliest == 0 ? 0 : static_cast<unsigned>(std::max<time_t>(1, earliest + 1 - uwsgi_now())));
}

}  // namespace

time_t earliest_harakiri() noexcept {
  const time_t first = by_option.earliest();
  const time_t second = by_users.earliest();
  return first == 0 || (second != 0 && second < first) ? second : first;
}

void Harakiri::begin() noexcept {
  if (uwsgi.harakiri_options.workers <= 0) return;
  by_option.change(deadline_, uwsgi_now() + uwsgi.harakiri_options.workers);
  look_after_harakiri();
  if (worker().harakiri != by_option.earliest()) show_earliest();
}

void Harakiri::end() noexcept {
  if (deadline_ == 0) return;
  by_option.change(deadline_, 0);
  show_earliest();
}

void UserHarakiri::entering() noexcept {
  if (!by_users.empty()) worker().user_harakiri = deadline_;
}

void UserHarakiri::left(bool ended) noexcept {
  const time_t now = worker().user_harakiri;
  if (now != 0 || deadline_ != 0 || !by_users.empty()) set(ended ? 0 : now);
}

void UserHarakiri::set(time_t deadline) noexcept {
  by_users.change(deadline_, deadline);
  if (deadline != 0) look_after_harakiri();
  worker().user_harakiri = by_users.earliest();
}

}  // namespace engine
