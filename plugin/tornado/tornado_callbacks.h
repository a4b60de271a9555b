// fetch(url, callback) of Tornado's AsyncHTTPClient, which Tornado 6 dropped.
#pragma once

#include "plugin/python/py_ref.h"

namespace python {

// From now on tornado.httpclient, imported already or yet to be, has an AsyncHTTPClient.fetch()
// that takes a callback, as its second argument or by name. It is called on the client's IOLoop with the
// response; of a request that failed, with one whose `error` says why. Throws PyError.
void restore_tornado_callbacks();

}  // namespace python
