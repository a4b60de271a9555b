// A gate where one waits, in C, until another opens it: by a condition or by a futex.
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t opened = PTHREAD_COND_INITIALIZER;
static int is_open;

void wait_by_condition(void) {
  pthread_mutex_lock(&mutex);
  while (!is_open) pthread_cond_wait(&opened, &mutex);
  is_open = 0;
  pthread_mutex_unlock(&mutex);
}

void open_by_condition(void) {
  pthread_mutex_lock(&mutex);
  is_open = 1;
  pthread_cond_signal(&opened);
  pthread_mutex_unlock(&mutex);
}

static atomic_int word;

void wait_by_futex(void) {
  int one = 1;
  while (!atomic_compare_exchange_strong(&word, &one, 0)) {
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    one = 1;
  }
}

void open_by_futex(void) {
  atomic_store(&word, 1);
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
