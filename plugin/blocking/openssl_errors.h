// OpenSSL's queue of errors, which it keeps per OS thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace blocking {

// The queued errors of one stack while it does not run. A caller looks at the queue after a
// call has failed, perhaps not before it has the GIL again: meanwhile another fiber's call
// would clear it, or fail because of what it finds there. Of every libcrypto that is loaded,
// from OpenSSL 3.0 on. The loop's thread only.
class OpensslErrors {
 public:
  OpensslErrors() = default;
  OpensslErrors(const OpensslErrors&) = delete;
  OpensslErrors& operator=(const OpensslErrors&) = delete;

  // Moves the thread's errors here. Costs a look where there are none, as nearly always.
  void take() noexcept;
  // Moves them back.
  void give_back() noexcept;

  // Errors of the libcrypto at `path`, which is loaded, are carried from now on. Any thread.
  static void learn_library(const std::string& path) noexcept;

 private:
  struct Error {
    int library;  // Which libcrypto.
    unsigned long code;
    std::string file, function, data;
    int line;
    bool has_data;
  };
  std::vector<Error> errors_;
};

}  // namespace blocking
