#include "plugin/asyncio/stream_feed.h"

#include <cstring>

#include "plugin/asyncio/library_function.h"
#include "plugin/asyncio/transport_names.h"

namespace python {
namespace {

// Objects of asyncio.streams, borrowed: they live as long as the process.
struct Streams {
  PyObject* module = py_check(PyImport_ImportModule("asyncio.streams")).release();
  PyTypeObject* protocol = type_of("StreamReaderProtocol");
  PyTypeObject* reader = type_of("StreamReader");
  PyObject* data_received = kept_method_of(protocol, "data_received");
  PyObject* reader_of = kept_method_of(protocol, "_stream_reader");
  PyObject* feed_data = kept_method_of(reader, "feed_data");
  PyObject* wake_up = kept_method_of(reader, "_wakeup_waiter");

  // False where a name that this needs is missing, in an asyncio to come.
  bool known() const noexcept { return data_received && reader_of && feed_data && wake_up; }
  // Whether nobody has replaced a method, before the first look or since.
  bool same() const {
    return has(protocol, "data_received", data_received) && has(reader, "feed_data", feed_data) &&
           has(reader, "_wakeup_waiter", wake_up) && method_of(protocol, "_stream_reader") == reader_of;
  }

 private:
  bool has(PyTypeObject* type, const char* name, PyObject* method) const {
    return method_of(type, name) == method && is_library_function(method, module, name);
  }
  PyTypeObject* type_of(const char* name) const {
    return reinterpret_cast<PyTypeObject*>(py_check(PyObject_GetAttrString(module, name)).release());
  }
  static PyObject* method_of(PyTypeObject* type, const char* name) {
    PyObject* const method = PyDict_GetItemString(type->tp_dict, name);
    PyErr_Clear();
    return method;
  }
  static PyObject* kept_method_of(PyTypeObject* type, const char* name) {
    return PyRef::borrow(method_of(type, name)).release();
  }
};

// Not a static object: making it may let another thread have the GIL, which would wait for it.
const Streams& streams() {
  static const Streams* made = nullptr;
  if (made == nullptr) made = new Streams;
  return *made;
}

struct StreamNames {
  PyObject* reader_reference = TransportNames::interned("_stream_reader_wr");
  PyObject* eof = TransportNames::interned("_eof");
  PyObject* buffer = TransportNames::interned("_buffer");
  PyObject* limit = TransportNames::interned("_limit");
  PyObject* waiter = TransportNames::interned("_waiter");
  PyObject* cancelled = TransportNames::interned("cancelled");
  PyObject* set_result = TransportNames::interned("set_result");
  PyObject* feed_data = TransportNames::interned("feed_data");
};

const StreamNames& names() {
  static const StreamNames names;
  return names;
}

// Nothing where the reader is gone, or is of another class.
PyRef plain_reader_of(PyObject* protocol) {
  const PyRef reference = py_check(PyObject_GetAttr(protocol, names().reader_reference));
  if (!PyWeakref_CheckRefExact(reference.get())) return {};
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* found = nullptr;
  py_check_status(PyWeakref_GetRef(reference.get(), &found));
  PyRef reader = PyRef::steal(found);
#else
  PyRef reader = PyRef::borrow(PyWeakref_GET_OBJECT(reference.get()));
#endif
  return reader && Py_TYPE(reader.get()) == streams().reader ? std::move(reader) : PyRef();
}

// Whether object.name is this function of its class: not that of an instance or of a test.
bool has_method(PyObject* object, PyObject* name, PyObject* function) {
#if PY_VERSION_HEX >= 0x03090000 && PY_VERSION_HEX < 0x030D0000  // Without an object for the method.
  PyObject* found = nullptr;
  const bool of_class = _PyObject_GetMethod(object, name, &found) == 1;
  return py_check(found).get() == function && of_class;
#else
  const PyRef method = py_check(PyObject_GetAttr(object, name));
  return PyMethod_Check(method.get()) && PyMethod_GET_FUNCTION(method.get()) == function &&
         PyMethod_GET_SELF(method.get()) == object;
#endif
}

// A reader pauses its transport when it has more than twice its limit.
bool has_room(const PyRef& reader, const PyRef& buffer, std::size_t size) {
  if (!PyByteArray_CheckExact(buffer.get()) || is_true(attribute(reader.get(), names().eof))) return false;
  const PyRef limit = attribute(reader.get(), names().limit);
  const long most = PyLong_CheckExact(limit.get()) ? PyLong_AsLong(limit.get()) : -1;
  if (most < 0) PyErr_Clear();
  return most >= 0 && (static_cast<std::size_t>(PyByteArray_GET_SIZE(buffer.get())) + size) / 2 <
                          static_cast<std::size_t>(most);
}

StreamFeed find_feed(PyObject* protocol, std::size_t most) {
  if (!has_method(protocol, transport_names().data_received, streams().data_received)) return {};
  PyRef reader = plain_reader_of(protocol);
  if (!reader || !has_method(reader.get(), names().feed_data, streams().feed_data)) return {};
  PyRef buffer = attribute(reader.get(), names().buffer);
  if (!has_room(reader, buffer, most)) return {};
  return {std::move(reader), std::move(buffer)};
}

void wake_waiter(const PyRef& reader) {
  const PyRef waiter = attribute(reader.get(), names().waiter);
  if (waiter.get() == Py_None) return;
  py_check_status(PyObject_SetAttr(reader.get(), names().waiter, Py_None));
  if (!is_true(call_method(waiter.get(), names().cancelled)))
    call_method(waiter.get(), names().set_result, Py_None);
}

}  // namespace

bool is_plain_stream(PyObject* protocol) {
  return Py_TYPE(protocol) == streams().protocol && streams().known() && streams().same();
}

StreamFeed stream_feed_of(PyObject* protocol, std::size_t most) noexcept {
  try {
    return find_feed(protocol, most);
  } catch (const PyError&) {
    PyErr_Clear();  // Whoever calls data_received() meets it again.
    return {};
  }
}

void feed_stream(const StreamFeed& feed, const char* data, std::size_t size) {
  const Py_ssize_t before = PyByteArray_GET_SIZE(feed.buffer.get());
  py_check_status(PyByteArray_Resize(feed.buffer.get(), before + static_cast<Py_ssize_t>(size)));
  std::memcpy(PyByteArray_AS_STRING(feed.buffer.get()) + before, data, size);
  wake_waiter(feed.reader);
}

}  // namespace python
