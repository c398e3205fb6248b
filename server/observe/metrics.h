// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What the daemon did, for Prometheus. No series carries an actor: their
// number is the clients' choice. What no number can tell, a failed forward
// pass or why the journal fails, also goes to the log.
//
// Thread safety: thread-safe; the Observer's methods take no lock that a
// scrape holds for long.

#ifndef STEPD_SERVER_OBSERVE_METRICS_H_
#define STEPD_SERVER_OBSERVE_METRICS_H_

#include <cstdint>
#include <memory>
#include <string>

#include "model/policy_spec.h"
#include "server/engine/observer.h"
#include "server/journal/journal_events.h"
#include "server/registry/registry_observer.h"

namespace stepd {

class Metrics : public Observer, public JournalEvents, public RegistryObserver {
 public:
  static std::unique_ptr<Metrics> Create();

  // What is served: constant series with value 1 and sizes in bytes.
  virtual void SetPolicy(const std::string& name, std::uint64_t version,
                         const PolicySpec& spec) = 0;

  // Whether steps are acknowledged without being journalled.
  virtual bool is_journal_degraded() const = 0;

  // The text exposition format, version 0.0.4.
  virtual std::string Text() const = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_OBSERVE_METRICS_H_
