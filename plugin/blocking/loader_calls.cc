#include "plugin/blocking/loader_calls.h"
#include "plugin/blocking/groups.h"

#include "plugin/blocking/libc.h"
#include "plugin/blocking/redirection.h"

// What the jumps below need, under names that the assembler can spell.
#pragma GCC visibility push(hidden)
extern "C" {

__attribute__((used)) void* uwsgi_tornado_real_dlopen = blocking::libc::find("dlopen");
__attribute__((used)) void* uwsgi_tornado_real_dlmopen = blocking::libc::find("dlmopen");
__attribute__((used)) void* uwsgi_tornado_real_dlsym = blocking::libc::find("dlsym");
__attribute__((used)) void* uwsgi_tornado_real_dlvsym = blocking::libc::find("dlvsym");

__attribute__((used)) void uwsgi_tornado_before_load() noexcept {
  blocking::look_at_loaded();
  blocking::loaded_here = true;
}
__attribute__((used)) void uwsgi_tornado_before_lookup() noexcept { blocking::look_at_loaded(); }

void uwsgi_tornado_dlopen();
void uwsgi_tornado_dlmopen();
void uwsgi_tornado_dlsym();
void uwsgi_tornado_dlvsym();

}  // extern "C"
#pragma GCC visibility pop

// JUMP(call, before) defines uwsgi_tornado_CALL, which calls `before` and jumps to the real call. The
// arguments (at most three) and the return address are unchanged, because the loader identifies the caller by
// that address.
#define FUNCTION(name, body)                                                                   \
  asm(".text\n.p2align 4\n.hidden " name "\n.globl " name "\n.type " name ", %function\n" name \
      ":\n"                                                                                    \
      ".cfi_startproc\n" body ".cfi_endproc\n.size " name ", . - " name "\n")

#if defined(__x86_64__)
#define JUMP(call, before)                         \
  FUNCTION("uwsgi_tornado_" call,                  \
           "endbr64\n"                             \
           "push %rdi\n.cfi_adjust_cfa_offset 8\n" \
           "push %rsi\n.cfi_adjust_cfa_offset 8\n" \
           "push %rdx\n.cfi_adjust_cfa_offset 8\n" \
           "call " before                          \
           "\n"                                    \
           "pop %rdx\n.cfi_adjust_cfa_offset -8\n" \
           "pop %rsi\n.cfi_adjust_cfa_offset -8\n" \
           "pop %rdi\n.cfi_adjust_cfa_offset -8\n" \
           "jmp *uwsgi_tornado_real_" call "(%rip)\n")
#elif defined(__aarch64__)
#define JUMP(call, before)                                          \
  FUNCTION("uwsgi_tornado_" call,                                   \
           "hint #34\n" /* bti c */                                 \
           "stp x29, x30, [sp, #-48]!\n.cfi_adjust_cfa_offset 48\n" \
           ".cfi_offset 29, -48\n.cfi_offset 30, -40\n"             \
           "stp x0, x1, [sp, #16]\n"                                \
           "str x2, [sp, #32]\n"                                    \
           "bl " before                                             \
           "\n"                                                     \
           "ldp x0, x1, [sp, #16]\n"                                \
           "ldr x2, [sp, #32]\n"                                    \
           "ldp x29, x30, [sp], #48\n.cfi_adjust_cfa_offset -48\n"  \
           ".cfi_restore 29\n.cfi_restore 30\n"                     \
           "adrp x16, uwsgi_tornado_real_" call                     \
           "\n"                                                     \
           "ldr x16, [x16, #:lo12:uwsgi_tornado_real_" call         \
           "]\n"                                                    \
           "br x16\n")
#endif

JUMP("dlopen", "uwsgi_tornado_before_load");
JUMP("dlmopen", "uwsgi_tornado_before_load");
JUMP("dlsym", "uwsgi_tornado_before_lookup");
JUMP("dlvsym", "uwsgi_tornado_before_lookup");

namespace blocking {

void look_at_loaded() noexcept {
  loaded_here = false;
  Redirection::look_again();
}

std::vector<Call> loader_calls() {
  return {
      {"dlopen", address_of(uwsgi_tornado_dlopen), Scope::kAnywhere},
      {"dlmopen", address_of(uwsgi_tornado_dlmopen), Scope::kAnywhere},
      {"dlsym", address_of(uwsgi_tornado_dlsym), Scope::kAnywhere},
      {"dlvsym", address_of(uwsgi_tornado_dlvsym), Scope::kAnywhere},
  };
}

}  // namespace blocking
