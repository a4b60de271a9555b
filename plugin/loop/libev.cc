#include "plugin/loop/libev.h"

#include "plugin/loop/private_library.h"

namespace loop {

#ifdef UWSGI_TORNADO_LINK_LIBRARIES  // tools/build-deb asks such an object what it depends on.

#define X(name) &::ev_##name,
const Libev libev = {UWSGI_TORNADO_LIBEV_FUNCTIONS(X)};
#undef X

#else

namespace {

#define TEXT_OF(number) TEXT_OF_IT(number)
#define TEXT_OF_IT(number) #number
PrivateLibrary library("libev.so." TEXT_OF(EV_VERSION_MAJOR));

}  // namespace

const Libev libev = [] {
  Libev found;
#define X(name) library.find("ev_" #name, found.name);
  UWSGI_TORNADO_LIBEV_FUNCTIONS(X)
#undef X
  return found;
}();

const std::string& libev_error() noexcept { return library.error(); }

#endif

}  // namespace loop
