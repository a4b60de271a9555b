// A library that loads a neighbour of its own by the bare name, as driver managers do.
#include <dlfcn.h>
#include <stddef.h>

int load_and_nap(const char* name, int milliseconds) {
  void* const neighbour = dlopen(name, RTLD_NOW);
  if (neighbour == NULL) return -2;
  int (*const nap)(int) = (int (*)(int))dlsym(neighbour, "nap");
  return nap == NULL ? -3 : nap(milliseconds);
}
