// The entry uWSGI looks up: the plugin's name, options and loop.
#include "plugin/engine/worker.h"
#include "plugin/observe/harakiri_report.h"
#include "plugin/uwsgi/options.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace {

uwsgi_plugin describe() {
  engine::say_if_left_out();
  uwsgi_plugin plugin{};
  plugin.name = "tornado";
  plugin.options = engine::option_table();
  plugin.on_load = engine::register_plugin;
  plugin.init = engine::check_options;
  plugin.preinit_apps = engine::prepare_for_applications;
  plugin.init_apps = engine::look_at_loaded_applications;
  plugin.postinit_apps = engine::check_applications;
  plugin.master_cycle = engine::watch_workers;
  plugin.harakiri = engine::ask_for_last_words;
  return plugin;
}

}  // namespace

extern "C" {
// Protected: loaded into a uwsgi that has the engine inside, it must not fill that one's entry.
__attribute__((visibility("protected"))) uwsgi_plugin tornado_plugin = describe();
}
