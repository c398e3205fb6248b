// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/commands/config_flags.h"

#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"

namespace stepd {

void ConfigFlags::AddTo(CLI::App* app) {
  app->add_option("--config", file_, "YAML file: sections of keys as below")
      ->type_name("FILE")
      ->take_last()
      ->group("Configuration");
  app->add_option_function<std::string>(
         "--model",
         [this](const std::string& path) {
           flags_.emplace_back("model.path", path);
         },
         "same as --model.path")
      ->type_name("DIR")
      ->take_last()
      ->group("Configuration");
  app->add_flag_callback(
         "--insecure",
         [this] { flags_.emplace_back("server.insecure", "true"); },
         "same as --server.insecure true")
      ->group("Configuration");
  for (const ConfigKey& key : ConfigKeys()) {
    const std::string name = key.name;
    const std::string section = name.substr(0, name.find('.'));
    app->add_option_function<std::string>(
           absl::StrCat("--", name),
           [this, name](const std::string& text) {
             flags_.emplace_back(name, text);
           },
           key.help)
        ->type_name(absl::StrCat(
            key.type, key.default_text.empty()
                          ? ""
                          : absl::StrCat(" [", key.default_text, "]")))
        ->take_last()
        ->group(section);
  }
}

absl::StatusOr<Config> ConfigFlags::Load() const {
  return LoadConfig({file_, ProcessEnvironment(), flags_});
}

}  // namespace stepd
