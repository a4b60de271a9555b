// The redirected slots of the process: which objects have some, when they are written and restored.
#pragma once

#include <array>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "plugin/blocking/call.h"
#include "plugin/blocking/got.h"
#include "plugin/blocking/object_choice.h"

namespace blocking {

// Identifies a loaded object.
struct ObjectKey {
  ElfW(Addr) base = 0;
  std::string path;  // Empty for the main program.

  bool operator==(const ObjectKey& other) const noexcept { return base == other.base && path == other.path; }
};

// While one lives, the object of that key is not unloaded. It waits until the loader has finished
// with the object: one that another thread is loading has no slots yet.
class HeldObject {
 public:
  explicit HeldObject(const ObjectKey& key) noexcept;
  ~HeldObject();
  HeldObject(const HeldObject&) = delete;
  HeldObject& operator=(const HeldObject&) = delete;

  // False if there is no such object any more.
  explicit operator bool() const noexcept { return handle_ != nullptr; }

 private:
  void* handle_;
};

// Redirects calls until undo(). At most one. Each object is looked at once, and forgotten once it
// is unloaded.
class Redirection {
 public:
  struct Object {
    std::string name;
    int slots;
  };
  // A library that is not on the list, and those of its imports that may block the worker.
  struct Unlisted {
    std::string name;
    std::vector<std::string_view> calls;
  };
  // Called once for each, on the thread that looks.
  using OnUnlisted = void (*)(const Unlisted& library) noexcept;

  // With `identity_only` no call suspends; libpython still learns who each fiber is.
  // `more` are calls of the layer above.
  Redirection(ObjectChoice choice, bool identity_only, const std::vector<Call>& more,
              OnUnlisted on_unlisted = nullptr);
  ~Redirection();
  Redirection(const Redirection&) = delete;
  Redirection& operator=(const Redirection&) = delete;

  // The one of this process, or null. The loop's thread, or with the GIL held.
  static const Redirection* active() noexcept { return active_; }

  // Redirects what has been loaded since the last look.
  void look();
  // The same for the one of this process, if there is one; any thread. errno survives.
  static void look_again() noexcept;
  // Restores every slot whose object is still loaded.
  void undo() noexcept;

  // "libpython3.11.so.1.0 45, libpq.so.5.15 9": the objects whose calls may suspend. Objects of which only
  // locks are redirected are left out of all these.
  std::string summary() const;
  int slot_count() const;
  std::vector<Object> objects() const;
  std::vector<Unlisted> unlisted() const;

 private:
  struct Loaded {
    ObjectKey key;
    Kind kind = Kind::kLeftAlone;
  };
  struct Seen {
    Loaded object;
    std::vector<Slot> slots;
    std::vector<std::string_view> unseen_waits;  // Imports of a library that is not on the list.
  };
  struct Loads {  // How many objects the process has loaded and unloaded so far.
    unsigned long long loaded = 0;
    unsigned long long unloaded = 0;
  };

  std::vector<Loaded> loaded_objects(Loads& loads) const;
  bool loads_changed() const;
  Kind kind_of(const dl_phdr_info& info) const;
  // Forgets unloaded objects. Returns those to look at.
  std::vector<Loaded> take_stock();
  void consider(const Loaded& object);
  // To be called with the mutex held.
  Seen& remember(const Loaded& object, const std::vector<Slot>& written);
  Seen* seen(const ObjectKey& key) noexcept;

  const pid_t process_;  // Its children never suspend.
  const ObjectChoice choice_;
  const OnUnlisted on_unlisted_;
  std::array<Replacements, kKinds> replacements_;
  std::unordered_set<std::string_view> waits_;  // A library that is not on the list is reported for these.
  mutable std::mutex mutex_;  // Libraries are loaded by any thread. Never held while the loader is asked.
  std::vector<Seen> seen_;
  Loads loads_;

  static inline Redirection* active_ = nullptr;
};

}  // namespace blocking
