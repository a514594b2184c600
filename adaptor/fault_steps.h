/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_steps.h - every step of the journal, as places where a crash test may kill the adaptor
 *
 * Each step is a write of the journal or an act on the world, and gives two fault points (base/fault.h):
 * "<step>.before" and "<step>.after". `cloud-api-adaptor faults` lists them in builds for tests.
 */
#ifndef PEERPOD_ADAPTOR_FAULT_STEPS_H
#define PEERPOD_ADAPTOR_FAULT_STEPS_H

#include <stdio.h>

/* In the order in which a sandbox passes them. */
#define FAULT_STEPS(X)                                      \
	X(CREATE_INSPECT, "create.inspect")                 \
	X(CREATE_FOLDER, "create.folder")                   \
	X(CREATE_RECORD, "create.record")                   \
	X(START_RECORD_CREATING, "start.record-creating")   \
	X(START_CREATE, "start.create")                     \
	X(START_RECORD_INSTANCE, "start.record-instance")   \
	X(START_ADDRESSES, "start.addresses")               \
	X(START_RECORD_ADDRESSES, "start.record-addresses") \
	X(START_NETWORK, "start.network")                   \
	X(START_OPEN, "start.open")                         \
	X(START_RECORD_RUNNING, "start.record-running")     \
	X(STOP_RECORD, "stop.record")                       \
	X(STOP_CLOSE, "stop.close")                         \
	X(STOP_NETWORK, "stop.network")                     \
	X(STOP_DELETE, "stop.delete")                       \
	X(STOP_FOLDER, "stop.folder")                       \
	X(STOP_FORGET, "stop.forget")

#define FAULT_STEP_ENUM(name, text) FAULT_##name,
enum fault_step { FAULT_STEPS(FAULT_STEP_ENUM) FAULT_STEP_COUNT };
#undef FAULT_STEP_ENUM

void fault_before(enum fault_step step);
void fault_after(enum fault_step step);

/* One name a line. */
void fault_steps_print(FILE *out);

#endif
