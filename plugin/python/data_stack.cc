#include "plugin/python/data_stack.h"

#include <cassert>
#include <cstdint>

namespace python {

#if PY_VERSION_HEX >= 0x030B0000

DataStack::DataStack(PyThreadState* state, const suspend::Stack& stack) noexcept : state_(state) {
  assert(state->datastack_chunk == nullptr);
  // A child of the worker ends the states of the fibers it does not have, and would unmap their chunks: the
  // system refuses to unmap what does not begin with a page.
  assert(reinterpret_cast<std::uintptr_t>(stack.annex()) % 512 == 0);
  assert(reinterpret_cast<std::uintptr_t>(stack.annex()) % 4096 != 0);
  auto* const chunk = static_cast<_PyStackChunk*>(stack.annex());
  chunk->previous = nullptr;
  chunk->size = stack.annex_size();
  chunk->top = 0;
  state->datastack_chunk = chunk;
  // As CPython does: with its first place left out the first chunk is never empty, and so never freed.
  state->datastack_top = &chunk->data[1];
  state->datastack_limit =
      reinterpret_cast<PyObject**>(static_cast<char*>(stack.annex()) + stack.annex_size());
}

DataStack::~DataStack() {
  assert(state_->datastack_top == &state_->datastack_chunk->data[1]);
  state_->datastack_chunk = nullptr;
  state_->datastack_top = nullptr;
  state_->datastack_limit = nullptr;
}

#else

DataStack::DataStack(PyThreadState* state, const suspend::Stack&) noexcept : state_(state) {}
DataStack::~DataStack() { (void)state_; }

#endif

}  // namespace python
