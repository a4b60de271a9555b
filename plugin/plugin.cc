// The entry uWSGI looks up: the plugin's name, options and loop.
#include "plugin/uwsgi/options.h"
#include "plugin/uwsgi/uwsgi_core.h"
#include "plugin/uwsgi/worker.h"

namespace {

uwsgi_plugin describe() {
  uwsgi_plugin plugin{};
  plugin.name = "tornado";
  plugin.options = engine::option_table();
  plugin.on_load = engine::register_plugin;
  plugin.init = engine::check_options;
  plugin.postinit_apps = engine::check_applications;
  plugin.master_cycle = engine::end_if_worker_gave_up;
  return plugin;
}

}  // namespace

extern "C" {
__attribute__((visibility("default"))) uwsgi_plugin tornado_plugin = describe();
}
