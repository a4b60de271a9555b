// C that uses as much stack as it is asked to.
#include <alloca.h>
#include <string.h>

int recurse(int levels) {
  volatile char frame[256];
  frame[0] = (char)levels;
  return levels == 0 ? 0 : recurse(levels - 1) + frame[0];
}

// One frame of that many bytes, touched from its low end.
int take(int size) {
  volatile char* frame = alloca(size);
  for (int i = 0; i < size; i += 4096) frame[i] = 1;
  return frame[0];
}
