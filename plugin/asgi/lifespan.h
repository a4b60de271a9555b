// The lifespans of the worker's ASGI applications.
#pragma once

#include <map>
#include <string>

#include "plugin/python/py_ref.h"

namespace asgi {

// Each application that is loaded when the worker starts has a lifespan. Applications that are loaded later,
// by a request, have none. The loop's thread only.
class Lifespans {
 public:
  Lifespans() noexcept { instance_ = this; }
  ~Lifespans() { instance_ = nullptr; }
  Lifespans(const Lifespans&) = delete;
  Lifespans& operator=(const Lifespans&) = delete;

  // Begins the startups, which proceed as the loop runs. REQUIRES: the worker's event loop is running.
  void begin() noexcept;
  // Whether all startups are over. Sets `why_not` to a sentence if one has failed, else to empty.
  bool started(std::string& why_not) noexcept;
  // Begins the shutdowns at the first call. Returns whether all are over.
  bool ended() noexcept;

  // The state of an application, of which each request gets a copy; null if none. Borrowed.
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
