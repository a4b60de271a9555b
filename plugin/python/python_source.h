// For code that is shorter in Python than in C++.
#pragma once

#include "plugin/python/py_ref.h"

// Defines `symbol`, the text of a file of the project. The assembler finds it where the compiler finds
// headers. Outside any namespace.
#define UWSGI_TORNADO_PYTHON_SOURCE(symbol, path) \
  asm(".pushsection .rodata\n"                    \
      "uwsgi_tornado_" #symbol                    \
      ":\n"                                       \
      ".incbin \"" path                           \
      "\"\n"                                      \
      ".byte 0\n"                                 \
      ".popsection");                             \
  extern "C" __attribute__((visibility("hidden"))) const char symbol[] __asm__("uwsgi_tornado_" #symbol)

namespace python {

// Runs `source` as a module of its own, called `file` in tracebacks, and returns what it calls `name`.
// Throws PyError.
PyRef from_python_source(const char* source, const char* file, const char* name);

// Calls function(module) when the module `name` is imported: now, or after its import. Throws
// PyError.
void when_imported(const char* name, const PyRef& function);

}  // namespace python
