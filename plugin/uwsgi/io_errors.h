// The exception of uWSGI's python plugin for an interrupted read or write.
#pragma once

namespace engine {

// Its OSErrors have a text and no errno ("write error"). From now on an interrupted
// request gets the exception of its interruption instead. If the plugin is linked with
// CPython itself, nothing changes. REQUIRES: the python plugin is loaded. With the GIL
// held.
void turn_io_errors_into_interruptions() noexcept;

}  // namespace engine
