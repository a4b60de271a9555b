// The replacements of libc's calls, by subject. Each group is a file of that name; replacements.h has them
// all.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

// --- Descriptors -----------------------------------------------------------------------------------

// poll, select, epoll_wait and their kin.
std::vector<Call> poll_calls();
// recv, send and their kin (transfer_calls.cc).
std::vector<Call> socket_calls();
// read, write and their kin, which are called for files too (transfer_calls.cc).
std::vector<Call> stream_calls();
// splice and its kin.
std::vector<Call> splice_calls();
// connect and accept.
std::vector<Call> connection_calls();
// open, fopen and their kin: of FIFOs and terminals.
std::vector<Call> open_calls();
// close, dup2 and their kin, which wake the fibers that wait for the closed descriptor.
std::vector<Call> closing_calls();
// File locks, and calls that wait for a disk.
std::vector<Call> file_calls();

// --- Threads and locks -----------------------------------------------------------------------------

std::vector<Call> sleep_calls();
// Semaphores, which CPython's locks are made of.
std::vector<Call> lock_calls();
std::vector<Call> mutex_calls();
std::vector<Call> condition_calls();
// Barriers, once, read-write locks, the end of a thread.
std::vector<Call> thread_calls();
std::vector<Call> c11_calls();
std::vector<Call> futex_calls();
// The identity of the caller, where the kernel knows it by a number.
std::vector<Call> identity_calls();

// --- Names, processes, signals ---------------------------------------------------------------------

std::vector<Call> name_calls();
// res_query and its kin (name_calls.cc).
std::vector<Call> resolver_calls();
// waitpid, waitid and their kin.
std::vector<Call> process_calls();
// Queues and semaphores of the kernel.
std::vector<Call> ipc_calls();
std::vector<Call> sigwait_calls();
// A handler may run anywhere, even while CPython hands over the GIL. So what it calls (a write that wakes the
// loop, faulthandler's report) must neither suspend nor ask whether it may.
std::vector<Call> signal_calls();
// pthread_sigmask() and sigprocmask(), which note whether the calling fiber has another mask than the
// loop.
std::vector<Call> signal_mask_calls();
// dlopen() resolves a name by the RUNPATH and namespace of its caller. So the replacement jumps to the real
// function, which returns to the caller, not to us. New libraries are looked at when somebody asks for a
// function of one with dlsym(), or before the thread's next wait.
std::vector<Call> loader_calls();

}  // namespace blocking
