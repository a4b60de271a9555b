/* Calls uWSGI's hook that waits for two descriptors: nothing in uWSGI's core does. */
#include "uwsgi.h"

extern struct uwsgi_server uwsgi;

int wait_for_either(int first, int second, int timeout_s, int* ready) {
  return uwsgi.wait_read2_hook(first, second, timeout_s, ready);
}
