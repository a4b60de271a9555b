// Which loaded objects are redirected, and which of their calls.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "plugin/blocking/call.h"
#include "plugin/blocking/got.h"
#include "plugin/blocking/object_choice.h"

namespace blocking {

// The redirected slots of the process, undone by undo(). At most one.
class Redirection {
 public:
  struct Object {
    std::string name;
    int slots;
  };


  // With `identity_only` no call suspends; libpython still learns who each fiber is.
  // `more` are calls of the layer above.
  Redirection(ObjectChoice choice, bool identity_only, const std::vector<Call>& more);
  ~Redirection();
  Redirection(const Redirection&) = delete;
  Redirection& operator=(const Redirection&) = delete;

  // The one of this process, or null. The loop's thread, or with the GIL held.
  static const Redirection* active() noexcept { return active_; }

  // Redirects what has been loaded since the last look.
  void look();
  // The same for the one of this process, if there is one; any thread.
  static void look_again() noexcept;
  void undo() noexcept;

  // "libpython3.11.so.1.0 45, libpq.so.5.15 9": the objects with redirected slots.
  std::string summary() const;
  int slot_count() const;
  std::vector<Object> objects() const;

 private:
  static int on_object(dl_phdr_info* info, std::size_t, void* self);
  void consider(const dl_phdr_info& info);

  const ObjectChoice choice_;
  Replacements everywhere_;
  Replacements in_libpython_;
  mutable std::mutex mutex_;  // Libraries are loaded by any thread.
  std::vector<Slot> slots_;
  std::vector<Object> objects_;
  std::vector<std::string> libcryptos_;  // The paths of those seen in the last look.

  static inline Redirection* active_ = nullptr;
};

}  // namespace blocking
