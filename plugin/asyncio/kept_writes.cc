#include "plugin/asyncio/kept_writes.h"

#include "plugin/python/gil.h"
#include "plugin/python/py_ref.h"

namespace python {

void KeptWrites::send_all() {
  while (ring_.linked()) static_cast<KeepsWrites&>(ring_.next()).send_kept();
  if (attached_) forget();
}

void KeptWrites::send_untold() noexcept {
  const ErrorAside error;
  while (!empty()) {
    try {
      send_all();
    } catch (const PyError&) {
      PyErr_WriteUnraisable(nullptr);
    }
  }
}

void KeptWrites::release_before_waits() noexcept {
  writer_ = PyThreadState_Get();
  blocking::kept_back.store(this, std::memory_order_relaxed);
}

void KeptWrites::forget() noexcept {
  blocking::KeptBack* self = this;
  blocking::kept_back.compare_exchange_strong(self, nullptr);
}

// Only where CPython would let other threads run: C code that has kept the GIL expects no Python now. What is
// called here may wait in its turn, so `kept_back` is cleared first.
void KeptWrites::release() noexcept {
  if (holds_gil(writer_)) return;
  forget();
  PyEval_RestoreThread(writer_);
  send_untold();
  PyEval_SaveThread();
}

}  // namespace python
