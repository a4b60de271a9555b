// Calls that look names up: getaddrinfo, getnameinfo, gethostbyname and kin.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

std::vector<Call> name_calls();

}  // namespace blocking
