#include "plugin/blocking/redirection.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>

#include "plugin/blocking/libc.h"
#include "plugin/blocking/replacements.h"
#include "plugin/blocking/signal_calls.h"

namespace blocking {
namespace {

constexpr Kind kRedirected[] = {Kind::kLibpython, Kind::kListed, Kind::kLocksOnly};

std::size_t index_of(Kind kind) noexcept { return static_cast<std::size_t>(kind); }

std::array<Replacements, kKinds> to_maps(bool identity_only, const std::vector<Call>& more) {
  std::array<Replacements, kKinds> maps;
  for (const Kind kind : kRedirected) {
    Replacements& map = maps[index_of(kind)];
    for (const Replacement& one : replacements()) {
      const bool wanted = !identity_only || one.group == kIdentityGroup;
      if (wanted && reaches(one.scope, kind)) map[one.name] = one.replacement;
    }
    for (const Call& call : more) {
      if (reaches(call.scope, kind)) map[call.name] = call.replacement;
    }
  }
  return maps;
}

std::unordered_set<std::string_view> waits_unseen(bool identity_only) {
  std::unordered_set<std::string_view> names;
  if (identity_only) return names;
  for (const Replacement& one : replacements()) {
    if (one.waits) names.insert(one.name);
  }
  for (const LeftAlone& one : left_alone()) {
    if (one.why.waits && reaches(one.scope, Kind::kLocksOnly)) names.insert(one.name);
  }
  for (const Replacement& one : replacements()) {
    if (reaches(one.scope, Kind::kLocksOnly)) names.erase(one.name);
  }
  return names;
}

// Some function of CPython's, wherever it is linked.
const void* python_code() noexcept {
  static const void* const address = dlsym(RTLD_DEFAULT, "PyEval_RestoreThread");
  return address;
}

// Debian's libc, or a replacement that a program is started with.
const void* allocator_code() noexcept {
  static const void* const address = dlsym(RTLD_DEFAULT, "malloc");
  return address;
}

const void* own_code() noexcept { return reinterpret_cast<const void*>(&own_code); }

ObjectKey key_of(const dl_phdr_info& info) {
  return {info.dlpi_addr, info.dlpi_name == nullptr ? "" : info.dlpi_name};
}

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
    : handle_(libc::dlopen(key.path.empty() ? nullptr : key.path.c_str(), RTLD_LAZY | RTLD_NOLOAD)) {
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

Redirection::Redirection(ObjectChoice choice, bool identity_only, const std::vector<Call>& more,
                         OnUnlisted on_unlisted)
    : process_(getpid()),
      choice_(std::move(choice)),
      on_unlisted_(on_unlisted),
      replacements_(to_maps(identity_only, more)),
      waits_(waits_unseen(identity_only)) {
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
  // The engine, because its replacements must reach the real calls; and the allocator of their memory.
  if (!python && (holds(info, own_code()) || holds(info, allocator_code()))) return Kind::kLeftAlone;
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
  const auto found =
      std::find_if(seen_.begin(), seen_.end(), [&](const Seen& one) { return one.object.key == key; });
  return found == seen_.end() ? nullptr : &*found;
}

std::vector<Redirection::Loaded> Redirection::take_stock() {
  Loads loads;
  std::vector<Loaded> objects = loaded_objects(loads);
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto is_loaded = [&](const Seen& one) {
    return std::any_of(objects.begin(), objects.end(),
                       [&](const Loaded& object) { return object.key == one.object.key; });
  };
  seen_.erase(std::remove_if(seen_.begin(), seen_.end(), [&](const Seen& one) { return !is_loaded(one); }),
              seen_.end());
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

Redirection::Seen& Redirection::remember(const Loaded& object, const std::vector<Slot>& written) {
  Seen* known = seen(object.key);
  if (known == nullptr) known = &seen_.emplace_back(Seen{object, {}, {}});
  note(known->slots, written);
  return *known;
}

void Redirection::consider(const Loaded& object) {
  const std::string_view file = file_name(object.key.path);
  if (object.kind == Kind::kLeftAlone) {
    const std::lock_guard<std::mutex> lock(mutex_);
    remember(object, {});
    return;
  }
  const HeldObject held(object.key);
  if (!held) return;
  const ObjectTables tables = tables_of(object.key);
  std::vector<std::string_view> unseen_waits;
  if (object.kind == Kind::kLocksOnly && !waits_harmlessly(file)) unseen_waits = imports_of(tables, waits_);
  bool is_new = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<Slot> written;
    redirect(tables, replacements_[index_of(object.kind)], written);
    Seen& known = remember(object, written);
    is_new = known.unseen_waits.empty() && !unseen_waits.empty();
    known.unseen_waits = unseen_waits;
  }
  if (is_new && on_unlisted_ != nullptr) on_unlisted_({std::string(file), std::move(unseen_waits)});
}

void Redirection::look() {
  for (const Loaded& object : take_stock()) consider(object);
}

bool Redirection::loads_changed() const {
  Loads now;
  for_each_object([&](const dl_phdr_info& info) {
    now = {info.dlpi_adds, info.dlpi_subs};
    return true;
  });
  const std::lock_guard<std::mutex> lock(mutex_);
  return now.loaded != loads_.loaded || now.unloaded != loads_.unloaded;
}

void Redirection::look_again() noexcept {
  // What is loaded as the look takes memory or asks the loader is found by the next.
  thread_local bool looking = false;
  if (active_ == nullptr || looking || active_->process_ != getpid()) return;
  const int saved_errno = errno;
  looking = true;
  try {
    if (active_->loads_changed()) active_->look();
  } catch (const std::bad_alloc&) {
    // What was loaded blocks until the next look.
  }
  looking = false;
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
    const HeldObject held(object.object.key);
    if (!held) continue;
    for (const Slot& slot : object.slots) {
      // Loaded anew at the same address, it has slots of its own.
      if (__atomic_load_n(slot.address, __ATOMIC_ACQUIRE) == slot.replacement)
        write_slot(slot, slot.original);
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
    if (one.slots.empty() || one.object.kind == Kind::kLocksOnly) continue;
    const std::string name{file_name(one.object.key.path)};
    all.push_back({name.empty() ? "the main program" : name, static_cast<int>(one.slots.size())});
  }
  return all;
}

std::vector<Redirection::Unlisted> Redirection::unlisted() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Unlisted> all;
  for (const Seen& one : seen_) {
    if (!one.unseen_waits.empty())
      all.push_back({std::string(file_name(one.object.key.path)), one.unseen_waits});
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
