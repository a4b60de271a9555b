#include "plugin/http/libcurl.h"

#include <stdexcept>
#include <string>

#include "plugin/loop/private_library.h"

#ifndef UWSGI_TORNADO_LIBCURL
#define UWSGI_TORNADO_LIBCURL "libcurl.so.4"
#endif

namespace http {

#ifdef UWSGI_TORNADO_LINK_LIBRARIES  // tools/build-deb asks such an object what it depends on.

const Libcurl& libcurl() {
#define X(name) &::curl_##name,
  static const Libcurl linked = {UWSGI_TORNADO_LIBCURL_FUNCTIONS(X)};
#undef X
  return linked;
}

#else

namespace {

// Opened along with the plugin: all workers share its pages, and none stops at its first fetch.
loop::PrivateLibrary library(UWSGI_TORNADO_LIBCURL);

const Libcurl functions = [] {
  Libcurl found;
#define X(name) library.find("curl_" #name, found.name);
  UWSGI_TORNADO_LIBCURL_FUNCTIONS(X)
#undef X
  return found;
}();

bool begin() {
  if (!library.error().empty()) throw std::runtime_error("libcurl cannot be used: " + library.error());
  const CURLcode code = functions.global_init(CURL_GLOBAL_DEFAULT);
  if (code != CURLE_OK)
    throw std::runtime_error(std::string("libcurl cannot begin: ") + functions.easy_strerror(code));
  return true;
}

}  // namespace

const Libcurl& libcurl() {
  static const bool begun = begin();
  static_cast<void>(begun);
  return functions;
}

#endif

}  // namespace http
