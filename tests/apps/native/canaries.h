// What a library of canaries offers, in C++ and in Rust alike. A canary puts `own` where only its thread may
// see or change it, or takes a lock; calls `wait`, which runs Python; and returns `own`, or something else
// where another thread was there.
#pragma once

extern "C" {
using Wait = void (*)();

int canaries();  // How many there are.
const char* canary_name(
    int which);  // "local_..." where no lock is waited for: such a one may be called with the GIL held.
long canary_run(int which, long own, Wait wait);
int canaries_ended(
    long* owns,
    int max);  // What destructors of thread-locals found, since the last call; negative: not their thread's.
void canaries_say_ends(int fd);  // From now on each destructor also writes "ended OWN" there.
}
