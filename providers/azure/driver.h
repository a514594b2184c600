/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.h - the state of the Azure driver, and its verbs
 *
 * A VM is made whole by one PUT: its NICs, addresses and OS disk come with it and go with it (deleteOption), so that a
 * crash leaves a VM that can be found by its tags, or nothing. What Azure leaves of it nevertheless is found by tags and
 * by the OS disk's name, and goes with delete.
 */
#ifndef PEERPOD_AZURE_DRIVER_H
#define PEERPOD_AZURE_DRIVER_H

#include "providers/azure/arm.h"
#include "providers/azure/arm_id.h"
#include "providers/azure/catalogue.h"
#include "providers/azure/image.h"
#include "providers/azure/options.h"
#include "providers/azure/place.h"
#include "providers/azure/ssh_key.h"
#include "providers/azure/watch.h"
#include "providers/choice/choice.h"
#include "providers/choice/prices.h"
#include "providers/verbs.h"

struct provider {
	struct azure_options filled; /* as given, with what was looked up of the place */
	struct place place;
	const struct azure_options *options; /* those */
	struct arm *arm;
	struct watch *watch;
	struct catalogue *catalogue;
	struct images *images;
	struct prices *prices;
	struct choice_memory *refusals;
	struct ssh_key *ssh_key;
};

/* The id of a VM of this name in the configured group. New string; NULL: no memory. */
char *vm_id_make(const struct azure_options *o, const char *vm_name);

/* GETs the VM itself; expand: with its instance view. ERROR_GONE where there is none. */
int vm_get(struct provider *p, const struct arm_id *id, bool expand, json_t **vm,
	const struct bound *bound, struct error *err);

/* The text of the VM's failure: from its operation (URL, "": none) where that tells it, else from the VM. Always -1. */
int vm_tell_failure(struct provider *p, const struct arm_id *id, const char *operation,
	const struct bound *bound, struct error *err);

/* An operation's state, by its URL; *again_ns: what it asks to wait, 0: nothing. ERROR_GONE: it is not known any more. */
enum operation_state { OPERATION_RUNNING, OPERATION_DONE, OPERATION_FAILED };
int operation_look(struct provider *p, const char *url, enum operation_state *state,
	uint64_t *again_ns, const struct bound *bound, struct error *why);

/* How long to wait before the n-th look (from 0) at an operation that began then and asks to wait so long. */
uint64_t operation_pause_ns(unsigned n, uint64_t asked_ns, uint64_t age_ns);

/*
 * Waits until `needed` NICs have addresses and the VM has been put on a host (or says that it is ready), and fills in
 * addresses. operation: URL of its creation, "" where it is not known. An error has the reason of the failure.
 */
int vm_wait(struct provider *p, const struct arm_id *id, size_t needed, const char *operation,
	struct instance *instance, const struct bound *bound, struct error *err);

/*
 * Deletes the VM and all that was made for it, and waits until it is gone. What is gone already is fine; ERROR_DENIED for a
 * VM that is not tagged ours.
 */
int vm_remove(struct provider *p, const struct arm_id *id, const struct bound *bound,
	struct error *err);

/* What may be had of these sizes, ranked for the request. */
struct ranking {
	struct offering *list;
	size_t count;
	struct choice choice;
	char **zones, **sizes, **allowed;
	bool spot, on_demand; /* the markets that are wanted */
};
/* zone: where the volumes are, "": anywhere. */
int ranking_make(struct provider *p, const struct instance_request *request, unsigned tees,
	const char *zone, struct ranking *r, const struct bound *bound, struct error *err);
void ranking_free(struct ranking *ranking);

/* Checks that volumes can be attached, and gives the zone that they are in (zone: 16 bytes, "": none). */
int volumes_check(struct provider *p, const struct instance_request *r, char zone[16],
	const struct bound *bound, struct error *err);

#endif
