/* Uses libevent as libraries do that were written for it, with its structures in its own memory. */
#include <event2/event.h>
#include <event2/event_compat.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>

static void on_due(evutil_socket_t fd, short what, void* fired) {
  (void)fd;
  *(int*)fired += (what & EV_TIMEOUT) != 0;
}

/* How many of `count` timers fire, with what lies behind each event unharmed. */
int fire_timers(int count) {
  struct guarded {
    struct event event;
    char behind[64];
  }* timers = malloc((size_t)count * sizeof *timers);
  struct event_base* base = event_base_new();
  struct timeval soon = {0, 1000};
  int fired = 0;
  memset(timers, 0x5a, (size_t)count * sizeof *timers);
  for (int i = 0; i < count; ++i) {
    event_set(&timers[i].event, -1, 0, on_due, &fired);
    event_base_set(base, &timers[i].event);
    event_add(&timers[i].event, &soon);
  }
  event_base_dispatch(base);
  for (int i = 0; i < count; ++i) {
    for (size_t at = 0; at < sizeof timers[i].behind; ++at) fired -= timers[i].behind[at] != 0x5a;
  }
  event_base_free(base);
  free(timers);
  return fired;
}

/* The same with an event of libevent's own memory. */
int fire_once(void) {
  struct event_base* base = event_base_new();
  struct timeval soon = {0, 1000};
  int fired = 0;
  struct event* timer = event_new(base, -1, 0, on_due, &fired);
  event_add(timer, &soon);
  event_base_dispatch(base);
  event_free(timer);
  event_base_free(base);
  return fired;
}
