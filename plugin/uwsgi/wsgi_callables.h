// What uWSGI's python plugin gives to a WSGI application: start_response(), wsgi.input, wsgi.file_wrapper.
#pragma once

namespace engine {

// Has them do what PEP 3333 says where they do not; what they do right stays theirs. For the process's life.
// With the GIL held.
void follow_pep_3333() noexcept;

}  // namespace engine
