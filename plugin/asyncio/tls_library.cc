#include "plugin/asyncio/tls_library.h"

#include "plugin/asyncio/library_function.h"
#include "plugin/asyncio/transport_names.h"
#include "plugin/python/static_type.h"

namespace python {
namespace {

// Borrowed: they live as long as the process. Null where the module has no such name.
struct Library {
  PyTypeObject* bio = type_of("ssl", "MemoryBIO");
  PyTypeObject* object = type_of("ssl", "SSLObject");
  PyTypeObject* connection = type_of("_ssl", "_SSLSocket");
  PyObject* bio_read = method_of(bio, "read");
  PyObject* bio_write = method_of(bio, "write");
  PyObject* bio_pending = method_of(bio, "pending");
  PyObject* read = method_of(connection, "read");
  PyObject* write = method_of(connection, "write");
  PyObject* pending = method_of(connection, "pending");
  PyObject* again = found("asyncio.sslproto", "SSLAgainErrors");
  PyObject* connection_name = TransportNames::interned("_sslobj");

  bool known() const noexcept {
    return bio_read && bio_write && bio_pending && read && write && pending && object && again &&
           Py_TYPE(bio_pending) == &PyGetSetDescr_Type;
  }

  static PyObject* found(const char* module, const char* name) noexcept {
    try {
      return imported(module, name).release();
    } catch (const PyError&) {
      PyErr_Clear();
      return nullptr;
    }
  }
  static PyTypeObject* type_of(const char* module, const char* name) noexcept {
    PyObject* const type = found(module, name);
    return type != nullptr && PyType_Check(type) ? reinterpret_cast<PyTypeObject*>(type) : nullptr;
  }
  static PyObject* method_of(PyTypeObject* type, const char* name) noexcept {
    PyObject* const method = type == nullptr ? nullptr : PyDict_GetItemString(type->tp_dict, name);
    PyErr_Clear();
    return PyRef::borrow(method).release();
  }
};

// Not a static object: making it may let another thread have the GIL, which would wait for it.
const Library& library() {
  static const Library* made = nullptr;
  if (made == nullptr) made = new Library;
  return *made;
}

// The number that a call gives; -1 where it must be repeated later.
Py_ssize_t count_of(const PyRef& number) {
  if (!number) {
    if (!PyErr_ExceptionMatches(library().again)) throw PyError{};
    PyErr_Clear();
    return -1;
  }
  const Py_ssize_t count = PyLong_AsSsize_t(number.get());
  if (count < 0) throw PyError{};
  return count;
}

std::size_t size_of(const PyRef& number) { return static_cast<std::size_t>(count_of(number)); }

struct Memory {
  PyObject_HEAD char* data;
  Py_ssize_t size;
};

int fill_view(PyObject* self, Py_buffer* view, int flags) noexcept {
  const auto* const memory = reinterpret_cast<Memory*>(self);
  return PyBuffer_FillInfo(view, self, memory->data, memory->size, 0, flags);
}

PyTypeObject* memory_type() {
  static PyBufferProcs buffer = {fill_view, nullptr};
  return static_type<Memory>("uwsgi_tornado._Memory", [](PyTypeObject& t) { t.tp_as_buffer = &buffer; });
}

}  // namespace

bool know_tls_library() { return library().known(); }

bool is_tls_library_same() {
  const PyRef ssl = py_check(PyImport_ImportModule("ssl"));
  const auto is_same = [&](const char* name) {
    return is_library_function(PyDict_GetItemString(library().object->tp_dict, name), ssl.get(), name);
  };
  return is_same("read") && is_same("write");
}

// --- Memory -----------------------------------------------------------------------------------

MemoryObject::MemoryObject()
    : object_(py_check(reinterpret_cast<PyObject*>(PyObject_New(Memory, memory_type())))) {
  over(nullptr, 0);
}

MemoryObject::~MemoryObject() { over(nullptr, 0); }

PyObject* MemoryObject::over(char* data, std::size_t size) noexcept {
  auto* const memory = reinterpret_cast<Memory*>(object_.get());
  memory->data = data;
  memory->size = static_cast<Py_ssize_t>(size);
  return object_.get();
}

// --- BIOs -------------------------------------------------------------------------------------

bool MemoryBio::is(PyObject* object) noexcept { return Py_TYPE(object) == library().bio; }

std::size_t MemoryBio::pending() const {
  PyObject* const field = library().bio_pending;
  return size_of(py_check(Py_TYPE(field)->tp_descr_get(field, object_.get(), nullptr)));
}

void MemoryBio::write(char* data, std::size_t size) const {
  MemoryObject memory;
  PyObject* const args[] = {object_.get(), memory.over(data, size)};
  py_check(vectorcall(library().bio_write, args, 2, nullptr));
}

PyRef MemoryBio::read_all() const {
  PyObject* const self = object_.get();
  return py_check(vectorcall(library().bio_read, &self, 1, nullptr));
}

// --- Connections ------------------------------------------------------------------------------

TlsConnection TlsConnection::of(PyObject* object) {
  if (Py_TYPE(object) != library().object) return TlsConnection(PyRef());
  PyRef connection = attribute(object, library().connection_name);
  return TlsConnection(Py_TYPE(connection.get()) == library().connection ? std::move(connection) : PyRef());
}

Py_ssize_t TlsConnection::read(Py_ssize_t most, PyObject* buffer) const {
  const PyRef number = py_check(PyLong_FromSsize_t(most));
  PyObject* const args[] = {object_.get(), number.get(), buffer};
  return count_of(PyRef::steal(vectorcall(library().read, args, 3, nullptr)));
}

Py_ssize_t TlsConnection::write(PyObject* data) const {
  PyObject* const args[] = {object_.get(), data};
  return count_of(PyRef::steal(vectorcall(library().write, args, 2, nullptr)));
}

std::size_t TlsConnection::pending() const {
  PyObject* const self = object_.get();
  return size_of(py_check(vectorcall(library().pending, &self, 1, nullptr)));
}

}  // namespace python
