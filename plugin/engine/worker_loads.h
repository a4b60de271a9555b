// How busy each worker is, visible to all workers of this uWSGI.
#pragma once

namespace engine {

// Workers accept from the same sockets, and the first to wake takes as many connections as it has cores. With
// this, a worker that has more than its share lets the others go first. Does nothing with one worker, or if
// each worker has its own sockets (map-socket).
class WorkerLoads {
 public:
  // In the master, before it forks. False without memory.
  static bool prepare() noexcept;

  // In the worker.
  WorkerLoads() noexcept;
  ~WorkerLoads() { leave(); }
  WorkerLoads(const WorkerLoads&) = delete;
  WorkerLoads& operator=(const WorkerLoads&) = delete;

  void publish(int cores_taken) noexcept;
  // It accepts no more.
  void leave() noexcept;

  // True if more cores of this worker are taken than of another worker that has free cores.
  bool above_share() const noexcept;

  // Publishes whether this worker has been full for so long that it may refuse. Whether all others have.
  void publish_overloaded(bool overloaded) noexcept;
  bool others_overloaded() const noexcept;

 private:
  int least_of_others() const noexcept;

  int taken_ = 0;
};

}  // namespace engine
