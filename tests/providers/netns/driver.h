/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.h - the state of the netns driver, and what its verbs share
 *
 * An instance is a set of namespaces on this machine. In them run the real programs of a pod VM (podvm-init as first
 * process, process-user-data, the forwarder, mini-agent), connected to the worker by a veth pair and a bridge: the whole
 * path in milliseconds, for tests of scale, faults and crashes. Instances are processes of their own and outlive the
 * adaptor; what is known about them is in files (state.h). Artificial delays and failures are ordered by options.
 */
#ifndef PEERPOD_NETNS_DRIVER_H
#define PEERPOD_NETNS_DRIVER_H

#include "providers/verbs.h"
#include "state.h"
#include "trouble.h"

/* An instance's id is this and the token: a look at an id tells whose it is. */
#define ID_PREFIX "netns-"

struct values {
	char *state_dir, *bridge, *subnet, *bin_dir, *bundles, *agent, *forwarder_options, *fail;
	uint64_t create_delay_ns, address_delay_ns;
	int64_t mtu;
};

struct provider {
	const struct values *values;
	char *bin_dir, *bundles;
	char gateway_cidr[32], gateway[16];
	int prefix;
	struct troubles troubles;
};

/* The token in an instance's id; ERROR_INVALID where the id is not one of ours. */
int token_of(const char *id, const char **token, struct error *err);

/* The record as provider.h tells of an instance. */
int instance_fill(const char *token, const struct record *record, struct instance *instance,
	struct error *err);

/*
 * With the token's lock held: ends every process of the instance and takes away all that was made
 * for it. May be repeated after any interruption: the record goes last.
 */
int instance_take_down(struct provider *p, const char *token, const struct record *record,
	const struct bound *bound, struct error *err);

#endif
