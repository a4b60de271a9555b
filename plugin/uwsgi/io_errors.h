// What uWSGI's python plugin says of a read or write that was interrupted.
#pragma once

namespace engine {

// Its OSErrors have a text and no errno ("write error"). From now on the one it raises in an interrupted
// request is the exception that the request is interrupted with. Where it is linked with CPython itself
// nothing changes.
// REQUIRES: the python plugin is loaded. With the GIL held.
void turn_io_errors_into_interruptions() noexcept;

}  // namespace engine
