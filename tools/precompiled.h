// What most sources include, compiled once by `make` (tools/objects.mk). Each source names what it needs all
// the same: `uwsgi --build-plugin` and embedded builds compile it without this.
#pragma once

#include <Python.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>
