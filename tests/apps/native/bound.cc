// A pybind11 module as computing libraries are written: it gives the GIL up, takes it to call back, converts
// arguments.
#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

namespace py = pybind11;

namespace {

long burn(int ms) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
  long turns = 0;
  while (std::chrono::steady_clock::now() < end) ++turns;
  return turns;
}

// An argument that is made of an int lives until the function returns: pybind11 keeps a stack of such frames
// per thread.
struct Number {
  int value;
};

int call_with_number(const Number& number, const py::object& wait, const std::vector<std::string>& words) {
  wait();
  return number.value + static_cast<int>(words.size());
}

// Gives the GIL up, has it taken for a call of Python, and does so again in the call's place.
int call_in_release(const std::function<int(int)>& function, int depth) {
  py::gil_scoped_release release;
  const int answer = function(depth);
  if (depth == 0) return answer;
  py::gil_scoped_acquire acquire;
  return answer + call_in_release(function, depth - 1);
}

struct Shape {
  virtual ~Shape() = default;
  virtual int sides() const { return 0; }
};

struct PythonShape : Shape {
  int sides() const override { PYBIND11_OVERRIDE(int, Shape, sides, ); }
};

}  // namespace

PYBIND11_MODULE(bound, m) {
  m.def("burn", &burn, py::call_guard<py::gil_scoped_release>());
  m.def("call", [](const std::function<int(int)>& function, int number) { return function(number); });
  m.def("call_with_number", &call_with_number);
  m.def("call_in_release", &call_in_release);
  m.def("fails", [](const py::object& wait, int number) -> int {
    wait();
    throw std::out_of_range(std::to_string(number));
  });
  py::class_<Number>(m, "Number").def(py::init([](int value) { return Number{value}; }));
  py::implicitly_convertible<int, Number>();
  py::class_<Shape, PythonShape>(m, "Shape").def(py::init<>());
  m.def(
      "sides_of", [](const Shape& shape) { return shape.sides(); }, py::call_guard<py::gil_scoped_release>());
}
