// A Boost context on a stack that the caller owns.
#pragma once

#include <boost/context/fiber.hpp>

#include <cstddef>
#include <memory>
#include <utility>

#include "suspend/sanitizer.h"

namespace suspend {

// The memory between `bottom` and `top` must outlive the context. Boost calls an allocator to free a
// context's stack when the context ends; this allocator frees nothing.
template <typename Entry>
boost::context::fiber context_on(void* bottom, void* top, Entry entry) {
  struct BorrowedStack {
    boost::context::stack_context allocate() { return {}; }
    void deallocate(boost::context::stack_context&) noexcept {}
  };
  boost::context::stack_context whole;
  whole.sp = top;
  whole.size = static_cast<std::size_t>(static_cast<char*>(top) - static_cast<char*>(bottom));
  const boost::context::preallocated memory(whole.sp, whole.size, whole);
  const sanitizer::MakesContext makes_context({bottom, whole.size});
  return boost::context::fiber(std::allocator_arg, memory, BorrowedStack{}, std::move(entry));
}

}  // namespace suspend
