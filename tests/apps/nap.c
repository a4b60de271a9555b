// A library whose calls wait, for the GOT of one that is linked with -z relro -z now.
#include <unistd.h>

int nap(int milliseconds) { return usleep(milliseconds * 1000); }
