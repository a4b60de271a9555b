// libcurl: its types and constants, and its functions by a table. Included instead of <curl/curl.h>.
#pragma once

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

namespace http {

// The functions that are used, as in plugin/loop/libev.h.
#define UWSGI_TORNADO_LIBCURL_FUNCTIONS(X) \
  X(easy_cleanup)                          \
  X(easy_getinfo)                          \
  X(easy_init)                             \
  X(easy_option_by_id)                     \
  X(easy_pause)                            \
  X(easy_reset)                            \
  X(easy_setopt)                           \
  X(easy_strerror)                         \
  X(global_init)                           \
  X(multi_add_handle)                      \
  X(multi_cleanup)                         \
  X(multi_info_read)                       \
  X(multi_init)                            \
  X(multi_remove_handle)                   \
  X(multi_setopt)                          \
  X(multi_socket_action)                   \
  X(multi_timeout)                         \
  X(slist_append)                          \
  X(slist_free_all)

// libcurl().easy_init() is curl_easy_init().
struct Libcurl {
#define X(name) decltype(&::curl_##name) name;
  UWSGI_TORNADO_LIBCURL_FUNCTIONS(X)
#undef X
};

// Initialised by the first call. Throws std::runtime_error if that fails.
const Libcurl& libcurl();

}  // namespace http
