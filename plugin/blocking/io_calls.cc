#include "plugin/blocking/io_calls.h"

namespace blocking {

std::vector<Call> io_calls() {
  std::vector<Call> all = poll_calls();
  for (const auto& calls : {transfer_calls(), connection_calls()}) {
    all.insert(all.end(), calls.begin(), calls.end());
  }
  return all;
}

}  // namespace blocking
