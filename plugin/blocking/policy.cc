#include "plugin/blocking/policy.h"

#include <dlfcn.h>

#include <cassert>

#include "plugin/blocking/file_calls.h"
#include "plugin/blocking/identity.h"
#include "plugin/blocking/io_calls.h"
#include "plugin/blocking/loader_calls.h"
#include "plugin/blocking/lock_calls.h"
#include "plugin/blocking/mutex_calls.h"
#include "plugin/blocking/name_calls.h"
#include "plugin/blocking/openssl_errors.h"
#include "plugin/blocking/process_calls.h"
#include "plugin/blocking/real.h"
#include "plugin/blocking/signal_calls.h"
#include "plugin/blocking/sleep_calls.h"

namespace blocking {
namespace {

Replacements to_map(const std::vector<Call>& calls, bool libpython) {
  Replacements map;
  for (const Call& call : calls) {
    if (call.scope != (libpython ? Scope::kNotLibpython : Scope::kLibpythonOnly)) map[call.name] = call.replacement;
  }
  return map;
}

std::vector<Call> calls_to_redirect(bool identity_only, const std::vector<Call>& more) {
  std::vector<Call> all = identity_calls();
  all.insert(all.end(), more.begin(), more.end());
  if (identity_only) return all;
  for (const auto& calls : {io_calls(), sleep_calls(), lock_calls(), name_calls(), process_calls(), file_calls(),
                            loader_calls(), mutex_calls(), signal_calls()}) {
    all.insert(all.end(), calls.begin(), calls.end());
  }
  return all;
}

// Some function of CPython's, wherever it is linked.
const void* python_code() noexcept {
  static const void* const address = dlsym(RTLD_DEFAULT, "PyEval_RestoreThread");
  return address;
}

}  // namespace

Redirection::Redirection(ObjectChoice choice, bool identity_only, const std::vector<Call>& more)
    : choice_(std::move(choice)),
      everywhere_(to_map(calls_to_redirect(identity_only, more), false)),
      in_libpython_(to_map(calls_to_redirect(identity_only, more), true)) {
  assert(active_ == nullptr);
  active_ = this;
  if (!identity_only) watch_handlers_set_before(python_code());
}

Redirection::~Redirection() {
  active_ = nullptr;
  undo();
}

void Redirection::look() {
  const std::lock_guard<std::mutex> lock(mutex_);
  libcryptos_.clear();
  dl_iterate_phdr(&on_object, this);
  for (const std::string& path : libcryptos_) OpensslErrors::learn_library(path);
}

void Redirection::look_again() noexcept {
  if (active_ != nullptr) active_->look();
}

int Redirection::on_object(dl_phdr_info* info, std::size_t, void* self) {
  static_cast<Redirection*>(self)->consider(*info);
  return 0;
}

void Redirection::consider(const dl_phdr_info& info) {
  // Ourselves: the replacements must reach the real calls.
  if (holds(info, reinterpret_cast<const void*>(&on_object)) &&
      !(python_code() != nullptr && holds(info, python_code()))) {
    return;
  }
  const ObjectTables object = read_tables(info);
  const bool python = python_code() != nullptr && holds(info, python_code());
  const Kind kind = classify(object.name, python, choice_);
  if (names_library(file_name(object.name), "libcrypto")) libcryptos_.push_back(object.name);
  if (kind == Kind::kOther) return;
  const int count =
      redirect(object, kind == Kind::kLibpython ? in_libpython_ : everywhere_, slots_);
  if (count == 0) return;
  const std::string name{file_name(object.name)};
  objects_.push_back({name.empty() ? "the main program" : name, count});
}

namespace {

struct LoadedQuestion {
  const void* address;
  bool loaded;
};

int ask_object(dl_phdr_info* info, std::size_t, void* question) noexcept {
  auto* asked = static_cast<LoadedQuestion*>(question);
  asked->loaded = holds(*info, asked->address);
  return asked->loaded ? 1 : 0;
}

// False once the object that holds `address` has been unloaded.
bool is_loaded(const void* address) noexcept {
  LoadedQuestion question{address, false};
  dl_iterate_phdr(&ask_object, &question);
  return question.loaded;
}

}  // namespace

void Redirection::undo() noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (auto slot = slots_.rbegin(); slot != slots_.rend(); ++slot) {
    if (is_loaded(slot->address)) write_slot(*slot, slot->original);
  }
  slots_.clear();
  objects_.clear();
}

int Redirection::slot_count() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return static_cast<int>(slots_.size());
}

std::vector<Redirection::Object> Redirection::objects() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return objects_;
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
