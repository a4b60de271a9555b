// Calls that look names up: getaddrinfo, getnameinfo, gethostbyname and kin.
#pragma once

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

std::vector<Call> name_calls();
// res_query and its kin.
std::vector<Call> resolver_calls();

}  // namespace blocking
