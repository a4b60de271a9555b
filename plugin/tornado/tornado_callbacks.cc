#include "plugin/tornado/tornado_callbacks.h"

#include "plugin/python/python_source.h"

namespace python {
namespace {

// Python, for it wraps a Python method. What the callback gets is what Tornado 5 gave.
constexpr char kSource[] = R"(
import functools
import time


def with_callback(module):
    original = module.AsyncHTTPClient.fetch

    @functools.wraps(original)
    def fetch(self, request, *args, callback=None, **kwargs):
        if args and callback is None and (args[0] is None or callable(args[0])):
            callback, *args = args
        if callback is None:
            return original(self, request, *args, **kwargs)
        raise_error = {'raise_error': kwargs.pop('raise_error')} if 'raise_error' in kwargs else {}
        if not isinstance(request, module.HTTPRequest):
            request, kwargs = module.HTTPRequest(url=request, **kwargs), {}

        def answer(future):
            if future.cancelled():
                return
            error = future.exception()
            response = future.result() if error is None else getattr(error, 'response', None)
            if response is None:
                response = module.HTTPResponse(request, 599, error=error, request_time=time.time() - request.start_time)
            self.io_loop.add_callback(callback, response)

        future = original(self, request, *args, **raise_error, **kwargs)
        future.add_done_callback(answer)
        return future

    module.AsyncHTTPClient.fetch = fetch
)";

}  // namespace

void restore_tornado_callbacks() {
  when_imported("tornado.httpclient",
                from_python_source(kSource, "uwsgi_tornado.tornado_callbacks", "with_callback"));
}

}  // namespace python
