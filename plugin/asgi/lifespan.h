// The lifespans of the worker's ASGI applications.
#pragma once

#include <map>
#include <string>

#include "plugin/python/py_ref.h"

namespace asgi {

// Each application that uWSGI has loaded by the start of the worker has one of its own; those that requests
// load have none. The loop's thread only.
class Lifespans {
 public:
  Lifespans() noexcept { instance_ = this; }
  ~Lifespans() { instance_ = nullptr; }
  Lifespans(const Lifespans&) = delete;
  Lifespans& operator=(const Lifespans&) = delete;

  // Begins the startups, which go on as the loop turns. Once worker_loop runs.
  void begin() noexcept;
  // All are over. `why_not` is what has failed, as a sentence, or empty.
  bool started(std::string& why_not) noexcept;
  // Asks for the shutdowns. True once all are over.
  bool ended() noexcept;

  // The state that requests to an application get a copy of, or null. Borrowed.
  static PyObject* state_of(int application_id) noexcept;

 private:
  struct Kept {
    python::PyRef lifespan;
    python::PyRef state;  // The lifespan's.
  };
  std::map<int, Kept> lifespans_;

  static inline Lifespans* instance_ = nullptr;
};

}  // namespace asgi
