// Sends gathered pieces of bodies where a step of an application lasts longer than a quantum.
#pragma once

#include <cstdint>

#include "plugin/python/watchdog.h"

namespace asgi {

class Connection;

// Connections gather small pieces until the turn of the loop ends. An application that computes meanwhile
// holds the loop, and with it what all of them have gathered. After a quantum the watchdog has CPython call
// back on the loop's thread, between two instructions of what runs there, and what is gathered is sent.
class Gathering final : public python::Watchdog::Duty {
 public:
  // Watches nothing where `quantum_s` is 0.
  Gathering(double quantum_s, python::Watchdog& watchdog);

  // `connection` gathers from now on, until end(). The loop's thread.
  static void begin(Connection& connection);
  static void end(Connection& connection) noexcept;

 private:
  std::int64_t look(python::Watchdog& watchdog) override;
  bool is_news() const noexcept override;

  const std::int64_t quantum_ns_;
  std::int64_t asked_for_ns_ = 0;  // Since then they had gathered. The watchdog's.
};

}  // namespace asgi
