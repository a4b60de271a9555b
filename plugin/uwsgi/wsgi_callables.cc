#include "plugin/uwsgi/wsgi_callables.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "plugin/python/py_ref.h"

extern "C" {
#include "plugins/python/uwsgi_python.h"
extern struct uwsgi_server uwsgi;
extern struct uwsgi_python up __attribute__((weak));
extern PyTypeObject uwsgi_InputType __attribute__((weak));
extern PyMethodDef uwsgi_sendfile_method[] __attribute__((weak));
}

namespace engine {
namespace {

using python::none;
using python::py_boundary;
using python::py_check;
using python::py_check_status;
using python::PyError;
using python::PyRef;
using python::raise;

// The python plugin's own.
struct {
  PyCFunction start_response;
  PyCFunction readline;
  PyCFunction file_wrapper;
} plugins;

// --- start_response(status, headers, exc_info=None)
// -----------------------------------------------------------

[[noreturn]] void raise_given(PyObject* exc_info) {
  PyObject* const type = PyTuple_GET_ITEM(exc_info, 0);
  PyObject* const value = PyTuple_GET_ITEM(exc_info, 1);
  PyObject* const traceback = PyTuple_GET_ITEM(exc_info, 2);
  PyErr_Restore(PyRef::borrow(type).release(), PyRef::borrow(value).release(),
                traceback == Py_None ? nullptr : PyRef::borrow(traceback).release());
  throw PyError{};
}

bool is_exc_info(PyObject* object) noexcept {
  return PyTuple_Check(object) && PyTuple_GET_SIZE(object) == 3 && PyType_Check(PyTuple_GET_ITEM(object, 0));
}

// uWSGI leaves the exception it is given set while it returns, which CPython makes a SystemError of.
PyObject* start_response(PyObject* self, PyObject* args) noexcept {
  return py_boundary([=] {
    const wsgi_request* const request = current_wsgi_req();
    if (request == nullptr)
      raise(PyExc_RuntimeError, "start_response() must be called by the thread that serves the request");
    PyObject* const exc_info = PyTuple_GET_SIZE(args) > 2 ? PyTuple_GET_ITEM(args, 2) : Py_None;
    if (exc_info == Py_None) {
      // Where the first was sent, after a websocket's handshake for one, uWSGI's says so by an OSError.
      const bool waits = !request->headers_sent && request->headers != nullptr && request->headers->pos > 0;
      if (waits)
        raise(PyExc_AssertionError,
              "start_response() was called before: a second call needs exc_info (PEP 3333)");
      return PyRef::steal(plugins.start_response(self, args));
    }
    if (!is_exc_info(exc_info)) raise(PyExc_TypeError, "exc_info must be a result of sys.exc_info()");
    if (request->headers_sent) raise_given(exc_info);
    const PyRef without = py_check(PyTuple_GetSlice(args, 0, 2));
    return PyRef::steal(plugins.start_response(self, without.get()));
  });
}

// --- wsgi.input.readline([size])
// ------------------------------------------------------------------------------

// What is over stays in uWSGI's buffer of lines, for the next call.
PyRef line_of_at_most(wsgi_request& request, std::size_t size) {
  ssize_t length = 0;
  const char* const line = uwsgi_request_body_readline(&request, 0, &length);
  if (line == nullptr)
    raise(PyExc_OSError,
          length < 0 ? "error during readline() on wsgi.input" : "timeout during readline() on wsgi.input");
  if (line == uwsgi.empty) return py_check(PyBytes_FromStringAndSize("", 0));
  const auto whole = static_cast<std::size_t>(length);
  if (whole > size) {
    const auto begin = static_cast<std::size_t>(line - request.post_readline_buf);
    request.post_readline_pos = begin + size;
    request.post_readline_watermark = std::max(request.post_readline_watermark, begin + whole);
  }
  return py_check(PyBytes_FromStringAndSize(line, static_cast<Py_ssize_t>(std::min(whole, size))));
}

// uWSGI's gives a whole line, however long.
PyObject* readline(PyObject* self, PyObject* args) noexcept {
  return py_boundary([=] {
    PyObject* given = Py_None;
    if (!PyArg_ParseTuple(args, "|O:readline", &given)) throw PyError{};
    const Py_ssize_t size = given == Py_None ? -1 : PyNumber_AsSsize_t(given, PyExc_OverflowError);
    if (size == -1 && PyErr_Occurred()) throw PyError{};
    if (size == 0) return py_check(PyBytes_FromStringAndSize("", 0));
    if (size > 0)
      return line_of_at_most(*reinterpret_cast<uwsgi_Input*>(self)->wsgi_req, static_cast<std::size_t>(size));
    const PyRef nothing = py_check(PyTuple_New(0));
    return PyRef::steal(plugins.readline(self, nothing.get()));
  });
}

// --- wsgi.file_wrapper(file[, size])
// --------------------------------------------------------------------------

// uWSGI sends the file of its descriptor, from the beginning to the end: right for a regular file that nobody
// has read from.
bool is_untouched_file(PyObject* file) noexcept {
  const int fd = PyObject_AsFileDescriptor(file);
  struct stat status;
  const bool regular = fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  const PyRef position = PyRef::steal(regular ? PyObject_CallMethod(file, "tell", nullptr) : nullptr);
  const bool at_beginning =
      position && PyLong_Check(position.get()) && PyLong_AsLongLong(position.get()) == 0;
  PyErr_Clear();
  return at_beginning;
}

// Anything else is read and sent as any iterable is; uWSGI reads in C until it gets empty bytes, which text
// never is.
PyRef read_by_chunks(PyObject* file, Py_ssize_t size) {
  const PyRef module = py_check(PyImport_ImportModule("wsgiref.util"));
  return py_check(PyObject_CallMethod(module.get(), "FileWrapper", "On", file, size));
}

PyObject* file_wrapper(PyObject* self, PyObject* args) noexcept {
  return py_boundary([=] {
    PyObject* file;
    Py_ssize_t size = 8192;
    if (!PyArg_ParseTuple(args, "O|n:file_wrapper", &file, &size)) throw PyError{};
    if (!PyObject_HasAttrString(file, "read")) raise(PyExc_AttributeError, "object has no attribute 'read'");
    if (!is_untouched_file(file)) return read_by_chunks(file, size);
    const PyRef both = py_check(Py_BuildValue("On", file, size));
    return PyRef::steal(plugins.file_wrapper(self, both.get()));
  });
}

// --- Taking their places
// --------------------------------------------------------------------------------------

// The function of a builtin is looked up in its definition at each call, and the definition is the plugin's
// own, so objects that were made before are served, too.
void replace(PyMethodDef& definition, PyCFunction by, PyCFunction& original) noexcept {
  original = std::exchange(definition.ml_meth, by);
}

PyMethodDef* method_named(PyMethodDef* methods, const char* name) noexcept {
  for (; methods->ml_name != nullptr; ++methods) {
    if (std::strcmp(methods->ml_name, name) == 0) return methods;
  }
  return nullptr;
}

}  // namespace

void follow_pep_3333() noexcept {
  if (plugins.start_response != nullptr) return;
  if (up.wsgi_spitout != nullptr && PyCFunction_Check(up.wsgi_spitout)) {
    replace(*reinterpret_cast<PyCFunctionObject*>(up.wsgi_spitout)->m_ml, start_response,
            plugins.start_response);
  }
  if (&uwsgi_InputType != nullptr) {
    if (PyMethodDef* const method = method_named(uwsgi_InputType.tp_methods, "readline"))
      replace(*method, readline, plugins.readline);
  }
  if (uwsgi_sendfile_method != nullptr) replace(uwsgi_sendfile_method[0], file_wrapper, plugins.file_wrapper);
}

}  // namespace engine
