#include "suspend/thread_block.h"

#include <dlfcn.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "suspend/signals_blocked.h"
#include "suspend/thread_local_block.h"

#if defined(__x86_64__)
#include <asm/prctl.h>
#endif

#ifndef __GLIBC__
#error "fibers are threads of glibc's: another libc keeps its threads where they are not found"
#endif

#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif

namespace suspend {

#if defined(__x86_64__)
namespace thread_pointer {

// valgrind runs no instruction that writes fs, and says so by the bit.
const bool may_write_fs = (getauxval(AT_HWCAP2) & 2) != 0;

void set_by_system_call(ThreadPointer to) noexcept { syscall(SYS_arch_prctl, ARCH_SET_FS, to); }

}  // namespace thread_pointer
#endif

namespace {

// --- What malloc() keeps per thread -----------------------------------------------------------

// The words of libc's thread-local data that malloc() changes in a thread that has not called it:
// its cache and its arena. None where malloc() is another library's, which then has a thread's
// caches for each fiber. Learnt by looking, since they have no names outside libc.
class MallocWords {
 public:
  // Throws std::bad_alloc. On any thread.
  static void learn_once() {
    static const MallocWords words;
    known_ = &words;
  }
  // REQUIRES: learn_once().
  static const MallocWords& known() noexcept { return *known_; }

  void carry(ThreadPointer from, ThreadPointer to) const noexcept {
    for (std::size_t i = 0; i < count_; ++i) word(to, i) = word(from, i);
  }
  // As in a thread that has not called malloc().
  void reset(ThreadPointer of) const noexcept {
    for (std::size_t i = 0; i < count_; ++i) word(of, i) = fresh_[i];
  }

 private:
  static constexpr std::size_t kMax = 4;
  static constexpr std::size_t kSizeMax = 4096;

  MallocWords() {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, &MallocWords::look, this) != 0) throw std::bad_alloc();
    pthread_join(thread, nullptr);
  }

  static void* look(void* self) noexcept {
    auto& words = *static_cast<MallocWords*>(self);
    const ThreadLocalBlock block = thread_local_block_of(words.libc_code_);
    if (block.begin == nullptr || block.size > kSizeMax) return nullptr;
    std::uintptr_t before[kSizeMax / sizeof(std::uintptr_t)];
    std::memcpy(before, block.begin, block.size);
    const int saved_errno = errno;
    void* volatile memory = std::malloc(24);
    std::free(memory);
    errno = saved_errno;  // It is among that data, too.
    words.note_changes(block, before);
    return nullptr;
  }

  void note_changes(const ThreadLocalBlock& block, const std::uintptr_t* before) noexcept {
    const auto* const now = reinterpret_cast<const std::uintptr_t*>(block.begin);
    for (std::size_t i = 0; i < block.size / sizeof *now; ++i) {
      if (now[i] == before[i]) continue;
      if (count_ == kMax) std::abort();  // It is another libc than this was written for.
      fresh_[count_] = before[i];
      offsets_[count_++] =
          reinterpret_cast<std::intptr_t>(now + i) - static_cast<std::intptr_t>(current_thread_pointer());
    }
  }

  std::uintptr_t& word(ThreadPointer of, std::size_t i) const noexcept {
    return *reinterpret_cast<std::uintptr_t*>(of + static_cast<ThreadPointer>(offsets_[i]));
  }

  const void* const libc_code_ = dlsym(RTLD_DEFAULT, "sched_yield");
  std::size_t count_ = 0;
  std::array<std::intptr_t, kMax> offsets_{};
  std::array<std::uintptr_t, kMax> fresh_{};

  static inline const MallocWords* known_ = nullptr;
};

// --- What the donor's kernel thread leaves behind -----------------------------------------------

// Where struct pthread has the number of its kernel thread, as libc tells its debuggers
// (nptl_db/structs.def): size in bits, number of elements, offset. 0 where it does not tell.
std::size_t offset_of_tid() noexcept {
  static const std::size_t offset = [] {
    const auto* const field =
        static_cast<const std::uint32_t*>(dlsym(RTLD_DEFAULT, "_thread_db_pthread_tid"));
    return field == nullptr || field[0] != 32 ? 0 : std::size_t{field[2]};
  }();
  return offset;
}

// What the word that the kernel clears at a thread's end has while the thread runs and may be joined: up to
// glibc 2.41 the thread's number, which clone() writes; later a state, the same for all, which pthread_join()
// looks at.
std::atomic<pid_t> running_and_joinable{0};

// The kernel writes the number of the CPU to the OS thread's area alone: sched_getcpu() and its
// kin ask the kernel where this is negative.
void disown_rseq_area(ThreadPointer pointer) noexcept {
  static const auto* const offset = static_cast<const std::ptrdiff_t*>(dlsym(RTLD_DEFAULT, "__rseq_offset"));
  static const auto* const size = static_cast<const unsigned*>(dlsym(RTLD_DEFAULT, "__rseq_size"));
  if (offset == nullptr || size == nullptr || *size == 0) return;
  struct Area {
    std::uint32_t cpu_id_start, cpu_id;
  };
  reinterpret_cast<Area*>(pointer + static_cast<ThreadPointer>(*offset))->cpu_id =
      static_cast<std::uint32_t>(-2);
}

}  // namespace

ThreadBlock::ThreadBlock(Stack& stack) : stack_(stack) {
  MallocWords::learn_once();
  const std::size_t tid_offset = offset_of_tid();
  if (tid_offset == 0) throw std::bad_alloc();
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  int error = pthread_attr_setstack(&attributes, stack.bottom(), stack.size());
  {
    const SignalsBlocked for_the_donor;
    if (error == 0) error = pthread_create(&id_, &attributes, &ThreadBlock::donate, this);
  }
  pthread_attr_destroy(&attributes);
  if (error != 0) throw std::bad_alloc();
  wait_for_donor();
  tid_ = reinterpret_cast<pid_t*>(reinterpret_cast<char*>(id_) + tid_offset);
  *tid_ = next_number();
  disown_rseq_area(pointer_);
}

pid_t ThreadBlock::next_number() noexcept {
  static std::atomic<unsigned> given{0};
  return kFirstNumber + static_cast<pid_t>(given.fetch_add(1, std::memory_order_relaxed) % kNumbers);
}

// Waits until the donor's kernel thread no longer uses the stack. Its last act is to set a word of libc's to
// 0 and to wake the waiters for that; the first donor asks the kernel which word.
void ThreadBlock::wait_for_donor() noexcept {
  static std::atomic<std::ptrdiff_t> offset_of_cleared{0};
  const auto base = reinterpret_cast<char*>(id_);
  if (const std::ptrdiff_t offset = offset_of_cleared.load(std::memory_order_relaxed)) {
    auto* const word = reinterpret_cast<pid_t*>(base + offset);
    while (const pid_t kernel_thread = __atomic_load_n(word, __ATOMIC_ACQUIRE)) {
      syscall(SYS_futex, word, FUTEX_WAIT, kernel_thread, nullptr, nullptr, 0);
    }
  } else {
    while (__atomic_load_n(&pointer_, __ATOMIC_ACQUIRE) == 0 || syscall(SYS_tgkill, getpid(), donor_, 0) == 0)
      sched_yield();
    offset_of_cleared.store(reinterpret_cast<char*>(cleared_) - base, std::memory_order_relaxed);
  }
}

// The donor's life: out of the kernel, and one day back for libc's clean-up.
void* ThreadBlock::donate(void* self) noexcept {
  auto& block = *static_cast<ThreadBlock*>(self);
  jmp_buf frames;
  block.donor_frames_ = &frames;
  if (_setjmp(frames) == 0) leave_kernel(block);
  return nullptr;
}

// The frames above this one stay as they are: libc's, and donate()'s. This one is of no more use.
[[noreturn, gnu::noinline]] void ThreadBlock::leave_kernel(ThreadBlock& self) noexcept {
  constexpr std::uintptr_t kAlignment = 64;
  const auto frame = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  self.stack_top_ = reinterpret_cast<void*>(frame & ~(kAlignment - 1));
  self.donor_ = static_cast<pid_t>(syscall(SYS_gettid));
  if (prctl(PR_GET_TID_ADDRESS, &self.cleared_, 0, 0, 0) != 0) {
    // A kernel without it: until 2.41 glibc has the kernel clear the number of the thread.
    self.cleared_ = reinterpret_cast<pid_t*>(reinterpret_cast<char*>(pthread_self()) + offset_of_tid());
  }
  running_and_joinable.store(*self.cleared_, std::memory_order_relaxed);
  const ThreadPointer pointer = current_thread_pointer();
  __atomic_store_n(&self.pointer_, pointer, __ATOMIC_RELEASE);
  for (;;) syscall(SYS_exit, 0);
}

int ThreadBlock::come_back(void* self) noexcept {
  _longjmp(*static_cast<ThreadBlock*>(self)->donor_frames_, 1);
}

ThreadBlock::~ThreadBlock() {
  MallocWords::known().reset(pointer_);
  // As libc makes its threads.
  constexpr int kThread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_SIGHAND | CLONE_THREAD |
                          CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
  const SignalsBlocked for_the_thread;
  __atomic_store_n(cleared_, running_and_joinable.load(std::memory_order_relaxed), __ATOMIC_RELEASE);
  const int tid = clone(&ThreadBlock::come_back, stack_top_, kThread, this, tid_,
                        reinterpret_cast<void*>(pointer_), cleared_);
  if (tid > 0) pthread_join(id_, nullptr);
  else stack_.keep_mapped();  // No room for a kernel thread: libc keeps this one on its list, for good.
}

ThreadBlock::OnKernelThread::OnKernelThread(const ThreadBlock& block) noexcept
    : tid_(block.tid_), number_(std::exchange(*tid_, static_cast<pid_t>(syscall(SYS_gettid)))) {}

ThreadPointer ThreadBlock::enter() const noexcept {
  const ThreadPointer before = current_thread_pointer();
  MallocWords::known().carry(before, pointer_);
  set_thread_pointer(pointer_);
  return before;
}

void ThreadBlock::leave(ThreadPointer to) const noexcept {
  MallocWords::known().carry(pointer_, to);
  set_thread_pointer(to);
}

}  // namespace suspend
