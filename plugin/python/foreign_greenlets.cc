#include "plugin/python/foreign_greenlets.h"

#include <cstring>

#include "plugin/blocking/thread_local_block.h"

namespace python {
namespace {

// Where the package's table of functions has PyGreenlet_GetCurrent (greenlet.h).
constexpr int kGetCurrentIndex = 4;

// A number that changes whenever sys.modules does, readable without the GIL: a thread that
// imports the package hands it to the loop's thread under the GIL, and the number with it.
#if PY_VERSION_HEX >= 0x030C0000
std::uint64_t modules_version = 1;

int on_modules_event(PyDict_WatchEvent, PyObject*, PyObject*, PyObject*) noexcept {
  __atomic_fetch_add(&modules_version, 1, __ATOMIC_RELAXED);
  return 0;
}

void watch(PyObject* modules) noexcept {
  static const int watcher = PyDict_AddWatcher(on_modules_event);
  if (watcher < 0 || PyDict_Watch(watcher, modules) < 0) PyErr_Clear();
}

std::uint64_t version_of(PyObject*) noexcept {
  return __atomic_load_n(&modules_version, __ATOMIC_RELAXED);
}
#else
void watch(PyObject*) noexcept {}

std::uint64_t version_of(PyObject* modules) noexcept {
  return __atomic_load_n(&reinterpret_cast<PyDictObject*>(modules)->ma_version_tag, __ATOMIC_RELAXED);
}
#endif

// Ours, which has no greenlets of that kind, is there under the same key and its own name.
bool is_the_package(PyObject* module) noexcept {
  const char* const name = PyModule_GetName(module);
  if (name == nullptr) PyErr_Clear();
  return name != nullptr && std::strcmp(name, "greenlet._greenlet") == 0;
}

}  // namespace

ForeignGreenlets::ForeignGreenlets() noexcept : modules_(PyImport_GetModuleDict()) {
  watch(modules_);
  look_for_package();
}

bool ForeignGreenlets::modules_changed() const noexcept { return version_of(modules_) != seen_modules_; }

bool ForeignGreenlets::running() noexcept {
  if (get_current_ == nullptr && modules_changed()) look_for_package();
  if (get_current_ == nullptr || block_ != nullptr) return false;
  return PyRef::steal(get_current_()).get() != main_.get();
}

void ForeignGreenlets::look_for_package() noexcept {
  const ErrorAside error;
  const std::uint64_t version = version_of(modules_);
  try {
    PyObject* package = PyDict_GetItemString(modules_, "greenlet._greenlet");
    if (package != nullptr && is_the_package(package)) use(package);
    seen_modules_ = version;
  } catch (const PyError&) {
    PyErr_Clear();  // It is being imported: no greenlet yet, but the next look may find one.
  }
}

// `package` is its extension module.
void ForeignGreenlets::use(PyObject* package) {
  const PyRef capsule = py_check(PyObject_GetAttrString(package, "_C_API"));
  auto** functions = static_cast<void**>(PyCapsule_GetPointer(capsule.get(), "greenlet._C_API"));
  if (functions == nullptr) throw PyError{};
  const auto get_current = reinterpret_cast<PyObject* (*)()>(functions[kGetCurrentIndex]);
  PyRef greenlet = py_check(get_current());
  for (;;) {
    PyRef parent = py_check(PyObject_GetAttrString(greenlet.get(), "parent"));
    if (parent.get() == Py_None) break;
    greenlet = std::move(parent);
  }
  // The thread that runs has its data by now: what it asked for was in it.
  const auto block = blocking::thread_local_block(reinterpret_cast<const void*>(get_current));
  if (block.starts_as_zeros && block.size <= sizeof(OfStack)) {
    block_ = block.begin;
    block_size_ = block.size;
  }
  main_ = std::move(greenlet);
  get_current_ = get_current;
}

}  // namespace python
