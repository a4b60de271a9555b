// What uWSGI's python plugin passes to applications: start_response(), wsgi.input, wsgi.file_wrapper.
#pragma once

namespace engine {

// Makes them follow PEP 3333 where they do not; the rest of their behaviour is kept. For the life of the
// process. With the GIL held.
void follow_pep_3333() noexcept;

}  // namespace engine
