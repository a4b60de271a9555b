// fetch(url, callback) of Tornado's AsyncHTTPClient, which Tornado 6 dropped.
#pragma once

#include "plugin/python/py_ref.h"

namespace python {

// From now on AsyncHTTPClient.fetch() of tornado.httpclient, imported already or later, takes a callback, as
// its second argument or by name. It is called on the client's IOLoop with the response; the response of a
// request that failed has the reason in `error`. Throws PyError.
void restore_tornado_callbacks();

}  // namespace python
