// Strings that uWSGI makes anew for each request, kept instead.
#pragma once

namespace engine {

// uWSGI's python plugin makes a str of the name and the value of each variable, and of each key that it has
// as a C string: CPython interns such a key, and makes an exception with its text for each attribute that is
// not there. uWSGI's HTTP parser prints the client's address. That was a large part of what a small request
// costs. From now on these calls of theirs return what the call before has made. Where uWSGI is linked with
// CPython itself nothing changes.
//
// REQUIRES: the python plugin is loaded. With the GIL held.
void keep_repeated_strings() noexcept;

}  // namespace engine
