// A library that keeps a mutex of its own while one below it waits.
#include <poll.h>
#include <pthread.h>
#include <stddef.h>

int nap(int milliseconds);

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int inside, most;

int nap_alone(int milliseconds) {
  pthread_mutex_lock(&mutex);
  if (++inside > most) most = inside;
  nap(milliseconds);
  --inside;
  const int seen = most;
  pthread_mutex_unlock(&mutex);
  return seen;
}

// For its name to be in the log.
int look(int milliseconds) { return poll(NULL, 0, milliseconds); }
