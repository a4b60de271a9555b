#include "plugin/fetch/errors.h"

namespace python {
namespace {

constexpr char kHttpErrorDoc[] =
    "A fetch failed. code: the status of the response, or 599 if none came. response: the Response, or\n"
    "None. curl_code: libcurl's error number, or 0.";
constexpr char kHttpTimeoutErrorDoc[] = "A fetch took longer than allowed. Also a TimeoutError.";

// An HTTPError that is a `base`, too. For the process's life.
PyObject* make_error_type(const char* name, const char* doc, PyObject* base) {
  const PyRef bases = py_check(PyTuple_Pack(2, http_error_type(), base));
  return py_check(PyErr_NewExceptionWithDoc(name, doc, bases.get(), nullptr)).release();
}

}  // namespace

PyObject* http_error_type() {
  static PyObject* type = nullptr;
  if (type == nullptr) {
    const PyRef fields =
        py_check(Py_BuildValue("{s:i,s:O,s:i}", "code", kNoResponse, "response", Py_None, "curl_code", 0));
    type =
        py_check(PyErr_NewExceptionWithDoc("uwsgi_tornado.HTTPError", kHttpErrorDoc, nullptr, fields.get()))
            .release();
  }
  return type;
}

PyObject* http_timeout_error_type() {
  static PyObject* const type =
      make_error_type("uwsgi_tornado.HTTPTimeoutError", kHttpTimeoutErrorDoc, PyExc_TimeoutError);
  return type;
}

PyRef make_http_error(PyObject* type, int code, const std::string& message, PyObject* response,
                      int curl_code) {
  const std::string text = "HTTP " + std::to_string(code) + ": " + message;
  const PyRef shown =
      py_check(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
  PyRef error = py_check(PyObject_CallFunctionObjArgs(type, shown.get(), nullptr));
  py_check_status(PyObject_SetAttrString(error.get(), "code", py_check(PyLong_FromLong(code)).get()));
  py_check_status(
      PyObject_SetAttrString(error.get(), "curl_code", py_check(PyLong_FromLong(curl_code)).get()));
  if (response != nullptr) py_check_status(PyObject_SetAttrString(error.get(), "response", response));
  return error;
}

PyRef error_of(const http::Transfer& transfer, PyObject* response) {
  PyObject* const type =
      transfer.result() == CURLE_OPERATION_TIMEDOUT ? http_timeout_error_type() : http_error_type();
  return make_http_error(type, kNoResponse, transfer.error(), response, transfer.result());
}

void raise_exception(const PyRef& exception) {
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())), exception.get());
  throw PyError{};
}

}  // namespace python
