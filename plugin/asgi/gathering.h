// Sends gathered pieces of bodies when a step of an application lasts longer than a quantum.
#pragma once

#include <cstdint>

#include "plugin/python/watchdog.h"

namespace asgi {

class Connection;

// Connections gather small pieces until the turn of the loop ends. An application that computes holds the
// loop, and so delays the pieces of all connections. After a quantum the watchdog asks CPython for a pending
// call on the loop's thread, between two bytecode instructions of the running code, which sends them.
class Gathering final : public python::Watchdog::Duty {
 public:
  // A `quantum_s` of 0 turns it off.
  Gathering(double quantum_s, python::Watchdog& watchdog);

  // `connection` gathers from begin() to end(). The loop's thread.
  static void begin(Connection& connection);
  static void end(Connection& connection) noexcept;

 private:
  std::int64_t look(python::Watchdog& watchdog) override;
  bool is_news() const noexcept override;

  const std::int64_t quantum_ns_;
  // The watchdog thread's.
  std::int64_t seen_ns_ = 0;       // The begin of the gathering last looked at.
  std::int64_t asked_for_ns_ = 0;  // The begin of the gathering last asked for.
};

}  // namespace asgi
