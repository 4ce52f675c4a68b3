// SPDX-License-Identifier: BSL-1.0
// All of chainring.
#pragma once

#include <chainring/address.hpp>
#include <chainring/channel.hpp>
#include <chainring/chunk.hpp>
#include <chainring/config.hpp>
#include <chainring/deadline.hpp>
#include <chainring/errc.hpp>
#include <chainring/event.hpp>
#include <chainring/handle.hpp>
#include <chainring/interval.hpp>
#include <chainring/latch.hpp>
#include <chainring/link.hpp>
#include <chainring/link_table.hpp>
#include <chainring/listener.hpp>
#include <chainring/manual_clock.hpp>
#include <chainring/mutex.hpp>
#include <chainring/offload.hpp>
#include <chainring/outbox.hpp>
#include <chainring/payload.hpp>
#include <chainring/relay.hpp>
#include <chainring/result.hpp>
#include <chainring/runtime.hpp>
#include <chainring/schedule.hpp>
#include <chainring/scope.hpp>
#include <chainring/semaphore.hpp>
#include <chainring/stop_token.hpp>
#include <chainring/task.hpp>
#include <chainring/time.hpp>
#include <chainring/when.hpp>
#include <chainring/with_scope.hpp>
