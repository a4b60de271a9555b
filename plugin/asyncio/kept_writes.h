// What a callback writes to stream transports is kept until it ends, and then sent together.
#pragma once

#include <Python.h>

#include "plugin/blocking/kept_back.h"

namespace python {

// A place in a ring.
class KeptLink {
 public:
  KeptLink() noexcept = default;
  ~KeptLink() { unlink(); }
  KeptLink(const KeptLink&) = delete;
  KeptLink& operator=(const KeptLink&) = delete;

  bool linked() const noexcept { return next_ != this; }
  void unlink() noexcept {
    next_->before_ = before_;
    before_->next_ = next_;
    next_ = before_ = this;
  }
  KeptLink& next() const noexcept { return *next_; }
  // REQUIRES: not linked.
  void link_before(KeptLink& other) noexcept {
    next_ = &other;
    before_ = other.before_;
    before_->next_ = other.before_ = this;
  }

 private:
  KeptLink* next_ = this;
  KeptLink* before_ = this;
};

// A transport, which is linked while it keeps bytes.
class KeepsWrites : public KeptLink {
 public:
  // Sends them, and is not linked afterwards. REQUIRES: linked. Throws PyError for SystemExit and
  // KeyboardInterrupt.
  virtual void send_kept() = 0;

 protected:
  ~KeepsWrites() = default;
};

// The transports of one loop that keep bytes, in the order of their first writes. The members need the GIL.
class KeptWrites final : private blocking::KeptBack {
 public:
  // `attached`: to the loop of the worker, which does not keep them while it blocks.
  explicit KeptWrites(bool attached) noexcept : attached_(attached) {}
  ~KeptWrites() { forget(); }
  KeptWrites(const KeptWrites&) = delete;
  KeptWrites& operator=(const KeptWrites&) = delete;

  bool empty() const noexcept { return !ring_.linked(); }
  // REQUIRES: not linked.
  void add(KeepsWrites& transport) noexcept {
    if (attached_ && empty()) release_before_waits();
    transport.link_before(ring_);
  }
  // Sends all. Throws PyError as send_kept() does; then some may be left.
  void send() {
    if (!empty()) send_all();
  }
  // The same for callers who cannot be told, whose pending error stays.
  void send_untold() noexcept;

 private:
  void send_all();
  void release_before_waits() noexcept;
  void forget() noexcept;
  void release() noexcept override;

  const bool attached_;
  PyThreadState* writer_ = nullptr;  // Whose callback wrote. Attached loops only.
  KeptLink ring_;
};

}  // namespace python
