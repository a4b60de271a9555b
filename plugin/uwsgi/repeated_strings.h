// Keeps strings that uWSGI would make anew for each request.
#pragma once

namespace engine {

// uWSGI's python plugin makes a str for the name and the value of each variable, and for each key that it has
// as a C string. CPython interns such a key, and makes an exception with its text for each missing attribute.
// uWSGI's HTTP parser prints the client's address. That was a large part of the cost of a small request. From
// now on these calls return what the previous call made. If uWSGI is linked with CPython itself, nothing
// changes.
//
// REQUIRES: the python plugin is loaded. With the GIL held.
void keep_repeated_strings() noexcept;

}  // namespace engine
