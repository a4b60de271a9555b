#include "plugin/blocking/redirection.h"

#include <dlfcn.h>

#include <algorithm>
#include <cassert>
#include <cerrno>

#include "plugin/blocking/openssl_errors.h"
#include "plugin/blocking/real.h"
#include "plugin/blocking/replacements.h"
#include "plugin/blocking/signal_calls.h"

namespace blocking {
namespace {

void add(Replacements& map, const char* name, void* replacement, Scope scope, bool libpython) {
  if (scope != (libpython ? Scope::kNotLibpython : Scope::kLibpythonOnly)) map[name] = replacement;
}

Replacements to_map(bool identity_only, const std::vector<Call>& more, bool libpython) {
  Replacements map;
  for (const Replacement& one : replacements()) {
    if (!identity_only || one.group == kIdentityGroup) add(map, one.name, one.replacement, one.scope, libpython);
  }
  for (const Call& call : more) add(map, call.name, call.replacement, call.scope, libpython);
  return map;
}

// Some function of CPython's, wherever it is linked.
const void* python_code() noexcept {
  static const void* const address = dlsym(RTLD_DEFAULT, "PyEval_RestoreThread");
  return address;
}

const void* own_code() noexcept { return reinterpret_cast<const void*>(&own_code); }

ObjectKey key_of(const dl_phdr_info& info) { return {info.dlpi_addr, info.dlpi_name == nullptr ? "" : info.dlpi_name}; }

ObjectTables tables_of(const ObjectKey& key) {
  ObjectTables tables;
  for_each_object([&](const dl_phdr_info& info) {
    if (!(key_of(info) == key)) return false;
    tables = read_tables(info);
    return true;
  });
  return tables;
}

// Keeps the records of `slots` true where an object was loaded anew at the same address.
void note(std::vector<Slot>& slots, const std::vector<Slot>& written) {
  for (const Slot& slot : written) {
    const auto same = std::find_if(slots.begin(), slots.end(),
                                   [&](const Slot& known) { return known.address == slot.address; });
    if (same == slots.end()) slots.push_back(slot);
    else *same = slot;
  }
}

}  // namespace

HeldObject::HeldObject(const ObjectKey& key) noexcept
    : handle_(real::dlopen(key.path.empty() ? nullptr : key.path.c_str(), RTLD_LAZY | RTLD_NOLOAD)) {
  if (handle_ == nullptr) {
    dlerror();  // It is nobody's business.
    return;
  }
  const link_map* map = nullptr;
  if (dlinfo(handle_, RTLD_DI_LINKMAP, &map) == 0 && map->l_addr == key.base) return;
  dlclose(handle_);
  handle_ = nullptr;
}

HeldObject::~HeldObject() {
  if (handle_ != nullptr) dlclose(handle_);
}

Redirection::Redirection(ObjectChoice choice, bool identity_only, const std::vector<Call>& more)
    : choice_(std::move(choice)),
      everywhere_(to_map(identity_only, more, false)),
      in_libpython_(to_map(identity_only, more, true)) {
  assert(active_ == nullptr);
  active_ = this;
  if (!identity_only) watch_handlers_set_before(python_code());
}

Redirection::~Redirection() {
  active_ = nullptr;
  undo();
}

Kind Redirection::kind_of(const dl_phdr_info& info) const {
  const bool python = python_code() != nullptr && holds(info, python_code());
  // Ourselves: the replacements must reach the real calls.
  if (!python && holds(info, own_code())) return Kind::kOther;
  return classify(info.dlpi_name == nullptr ? "" : info.dlpi_name, python, choice_);
}

std::vector<Redirection::Loaded> Redirection::loaded_objects(Loads& loads) const {
  std::vector<Loaded> all;
  for_each_object([&](const dl_phdr_info& info) {
    loads = {info.dlpi_adds, info.dlpi_subs};
    all.push_back({key_of(info), kind_of(info)});
    return false;
  });
  return all;
}

Redirection::Seen* Redirection::seen(const ObjectKey& key) noexcept {
  const auto found = std::find_if(seen_.begin(), seen_.end(), [&](const Seen& one) { return one.key == key; });
  return found == seen_.end() ? nullptr : &*found;
}

std::vector<Redirection::Loaded> Redirection::take_stock() {
  Loads loads;
  std::vector<Loaded> objects = loaded_objects(loads);
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto is_loaded = [&](const Seen& one) {
    return std::any_of(objects.begin(), objects.end(), [&](const Loaded& object) { return object.key == one.key; });
  };
  seen_.erase(std::remove_if(seen_.begin(), seen_.end(), [&](const Seen& one) { return !is_loaded(one); }), seen_.end());
  // After an unloading the same library may be back at the same address, with slots as new.
  const bool some_unloaded = loads.unloaded != loads_.unloaded;
  loads_ = loads;
  const auto is_known = [&](const Loaded& object) {
    const Seen* const known = seen(object.key);
    return known != nullptr && (!some_unloaded || known->slots.empty());
  };
  objects.erase(std::remove_if(objects.begin(), objects.end(), is_known), objects.end());
  return objects;
}

void Redirection::remember(const ObjectKey& key, const std::vector<Slot>& written) {
  Seen* known = seen(key);
  if (known == nullptr) known = &seen_.emplace_back(Seen{key, {}});
  note(known->slots, written);
}

void Redirection::consider(const Loaded& object) {
  if (names_library(file_name(object.key.path), "libcrypto")) OpensslErrors::learn_library(object.key.path);
  if (object.kind == Kind::kOther) {
    const std::lock_guard<std::mutex> lock(mutex_);
    remember(object.key, {});
    return;
  }
  const HeldObject held(object.key);
  if (!held) return;
  const ObjectTables tables = tables_of(object.key);
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Slot> written;
  redirect(tables, object.kind == Kind::kLibpython ? in_libpython_ : everywhere_, written);
  remember(object.key, written);
}

void Redirection::look() {
  for (const Loaded& object : take_stock()) consider(object);
}

void Redirection::look_again() noexcept {
  if (active_ == nullptr) return;
  const int saved_errno = errno;
  try {
    active_->look();
  } catch (const std::bad_alloc&) {
    // What was loaded blocks until the next look.
  }
  errno = saved_errno;
}

void Redirection::undo() noexcept {
  std::vector<Seen> objects;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    objects.swap(seen_);
  }
  for (const Seen& object : objects) {
    if (object.slots.empty()) continue;
    const HeldObject held(object.key);
    if (!held) continue;
    for (const Slot& slot : object.slots) {
      // Loaded anew at the same address, it has slots of its own.
      if (__atomic_load_n(slot.address, __ATOMIC_ACQUIRE) == slot.replacement) write_slot(slot, slot.original);
    }
  }
}

int Redirection::slot_count() const {
  int count = 0;
  for (const Object& object : objects()) count += object.slots;
  return count;
}

std::vector<Redirection::Object> Redirection::objects() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Object> all;
  for (const Seen& one : seen_) {
    if (one.slots.empty()) continue;
    const std::string name{file_name(one.key.path)};
    all.push_back({name.empty() ? "the main program" : name, static_cast<int>(one.slots.size())});
  }
  return all;
}

std::string Redirection::summary() const {
  std::string text;
  for (const Object& object : objects()) {
    if (!text.empty()) text += ", ";
    text += object.name + " " + std::to_string(object.slots);
  }
  return text;
}

}  // namespace blocking
