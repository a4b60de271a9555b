// str objects of the names that uWSGI's python plugin gives as C strings, made once.
#pragma once

namespace engine {

// That plugin sets the environ's keys with PyDict_SetItemString() and looks for a result's close() with
// PyObject_HasAttrString(): CPython makes, hashes and interns a str for each, and an exception with its text
// for each attribute that is not there. That was a third of what a small request costs. From now on its calls
// do the same with names that are kept. Where it is linked with CPython itself nothing changes.
// REQUIRES: the python plugin is loaded. With the GIL held.
void intern_names() noexcept;

}  // namespace engine
