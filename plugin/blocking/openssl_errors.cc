#include "plugin/blocking/openssl_errors.h"

#include <dlfcn.h>

#include <array>
#include <atomic>
#include <mutex>

#include "plugin/blocking/real.h"

namespace blocking {
namespace {

// Of OpenSSL's <openssl/err.h>: there since 3.0 and the same in every version.
constexpr unsigned long kSystemError = 0x80000000UL;
constexpr int kSystemLibrary = 2;
constexpr int kHasText = 2;
int library_of(unsigned long code) noexcept {
  return (code & kSystemError) != 0 ? kSystemLibrary : static_cast<int>(code >> 23 & 0xFF);
}
int reason_of(unsigned long code) noexcept {
  return static_cast<int>(code & ((code & kSystemError) != 0 ? 0x7FFFFFFFUL : 0x7FFFFFUL));
}

struct Libcrypto {
  unsigned long (*peek_error)();
  unsigned long (*get_error_all)(const char** file, int* line, const char** function, const char** data, int* flags);
  void (*new_error)();
  void (*set_debug)(const char* file, int line, const char* function);
  void (*set_error)(int library, int reason, const char* format, ...);

  bool complete() const noexcept {
    return peek_error != nullptr && get_error_all != nullptr && new_error != nullptr && set_debug != nullptr &&
           set_error != nullptr;
  }
};

// A process rarely has a second one, from a wheel. Added under the mutex, never removed.
struct {
  std::mutex mutex;
  std::array<void*, 8> handles{};
  std::array<Libcrypto, 8> libraries{};
  std::atomic<int> count{0};
} known;

template <typename Function>
void find(void* handle, const char* name, Function*& function) noexcept {
  function = reinterpret_cast<Function*>(dlsym(handle, name));
}

const char* text_or_null(const std::string& text) noexcept { return text.empty() ? nullptr : text.c_str(); }
std::string copied(const char* text) { return text == nullptr ? "" : text; }

}  // namespace

void OpensslErrors::learn_library(const std::string& path) noexcept {
  // Kept open: the library stays as long as it is asked.
  void* const handle = real::dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  if (handle == nullptr) return;
  Libcrypto found;
  find(handle, "ERR_peek_error", found.peek_error);
  find(handle, "ERR_get_error_all", found.get_error_all);
  find(handle, "ERR_new", found.new_error);
  find(handle, "ERR_set_debug", found.set_debug);
  find(handle, "ERR_set_error", found.set_error);
  const std::lock_guard<std::mutex> lock(known.mutex);
  const int count = known.count.load(std::memory_order_relaxed);
  bool is_new = found.complete() && static_cast<std::size_t>(count) < known.libraries.size();
  for (int i = 0; i < count; ++i) is_new = is_new && known.handles[static_cast<std::size_t>(i)] != handle;
  if (!is_new) {
    dlclose(handle);
    return;
  }
  known.handles[static_cast<std::size_t>(count)] = handle;
  known.libraries[static_cast<std::size_t>(count)] = found;
  known.count.store(count + 1, std::memory_order_release);
}

void OpensslErrors::take() noexcept {
  const int count = known.count.load(std::memory_order_acquire);
  for (int i = 0; i < count; ++i) {
    const Libcrypto& library = known.libraries[static_cast<std::size_t>(i)];
    while (library.peek_error() != 0) {
      const char* file = nullptr;
      const char* function = nullptr;
      const char* data = nullptr;
      int line = 0;
      int flags = 0;
      const unsigned long code = library.get_error_all(&file, &line, &function, &data, &flags);
      errors_.push_back({i, code, copied(file), copied(function), copied(data), line, (flags & kHasText) != 0});
    }
  }
}

void OpensslErrors::give_back() noexcept {
  for (const Error& error : errors_) {
    const Libcrypto& library = known.libraries[static_cast<std::size_t>(error.library)];
    library.new_error();
    library.set_debug(text_or_null(error.file), error.line, text_or_null(error.function));
    const int in = library_of(error.code);
    const int reason = reason_of(error.code);
    if (error.has_data) library.set_error(in, reason, "%s", error.data.c_str());
    else library.set_error(in, reason, nullptr);
  }
  errors_.clear();
}

}  // namespace blocking
