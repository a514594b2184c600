/* SPDX-License-Identifier: Apache-2.0 */
/*
 * create.c - an instance is made, or the one of this token found; see driver.h
 *
 * 1. Look for a live instance with the token's tag: after a crash it may be there.
 * 2. Rank what may be launched where (candidates.h) and try one after the other while EC2 says that it has no
 *    capacity there or the account no quota; what was refused is remembered. With AWS_SPOT=prefer, spot first and then
 *    on-demand.
 * 3. RunInstances carries a ClientToken, so a repeated call makes no second instance. EC2 remembers tokens also of
 *    instances that have ended, and refuses one that comes with other parameters: then the next one is used,
 *    token, token-2, token-3 ..., after a look for a live instance.
 * 4. Attach existing volumes, and make what RunInstances cannot (extras.h), which needs a running instance.
 *
 * What fails after an instance was made, or may have been, terminates it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "providers/aws/candidates.h"
#include "providers/aws/driver.h"
#include "providers/aws/extras.h"
#include "providers/aws/failure.h"
#include "providers/aws/launch.h"
#include "providers/choice/fallback.h"

#define TRIES_MAX \
	256 /* client tokens of a pod: one for each offering that was refused, and each that ended */
#define UNDO_NS (15 * NS_PER_S)
#define MISMATCH_LOOKS 3

/* ---- one RunInstances -------------------------------------------------------------------------------------- */

struct making {
	struct provider *p;
	struct launch launch;
	char client_token[72];
	unsigned tries; /* client tokens used up */
	bool sent;      /* a request went out whose fate is not known */
};

static int find_live(struct provider *p, const char *token, struct vm *vm,
	const struct bound *bound)
{
	for (unsigned looks = 0; looks < MISMATCH_LOOKS; looks++) {
		cleanup_error why = ERROR_INIT;
		if (describe(p->by_token, token, vm, bound, &why) == 0)
			return 0;
		if (why.kind != ERROR_GONE ||
			bound_sleep(bound, poll_pause_ns(looks), "look again", NULL) < 0)
			return -1;
	}
	return -1;
}

/* With the token of this try: 1 there is an instance, 0 this token is used up, -1 failed. */
static int run_once(struct making *m, struct vm *vm, const struct bound *bound, struct error *err)
{
	cleanup_query query = {0};
	cleanup_xml *reply = NULL;
	cleanup_error why = ERROR_INIT;
	const char *token = m->launch.request->token;
	if (m->tries)
		snprintf(m->client_token, sizeof(m->client_token), "%s-%u", token, m->tries + 1);
	else
		snprintf(m->client_token, sizeof(m->client_token), "%s", token);
	m->launch.client_token = m->client_token;
	m->tries++;
	if (launch_query(&m->launch, false, &query, err) < 0)
		return -1;
	int result = ec2_call(m->p->ec2, EC2_CREATE, &query, &reply, bound, &why);
	m->sent = result < 0 && (why.kind == ERROR_RETRY || why.kind == ERROR_TIMEOUT ||
					why.kind == ERROR_CANCELED);
	if (result < 0 && why.kind == ERROR_EXISTS)
		return find_live(m->p, token, vm, bound) == 0 ? 1 : 0;
	/* The instance of this client token is so long gone that EC2 cannot show it any more. */
	if (result < 0 && failure_has_code(&why, "InvalidInstanceID.NotFound"))
		return 0;
	if (result < 0)
		return error_move(err, &why);
	xmlNode *item = xml_first_item(xmlDocGetRootElement(reply), "instancesSet");
	if (!item || vm_read(item, vm, err) < 0) {
		m->sent = true;
		return error_set(err, ERROR_RETRY, "RunInstances: the answer holds no instance");
	}
	if (!vm_is_dead(vm))
		return 1;
	vm_free(vm);
	return 0;
}

/* One offering, or the launch template, until its fate is known. */
static int run_offering(struct making *m, const struct offering *offering, struct vm *vm,
	const struct bound *bound, struct error *err)
{
	m->launch.offering = offering;
	while (m->tries < TRIES_MAX) {
		int result = run_once(m, vm, bound, err);
		if (result)
			return result < 0 ? -1 : 0;
	}
	return error_set(err, ERROR_INTERNAL,
		"EC2 knows the first %d client tokens of this pod already", TRIES_MAX);
}

struct run {
	struct making *making;
	struct vm *vm;
};

static int run_ranked(void *with, const struct offering *offering, const struct bound *bound,
	struct error *err)
{
	struct run *run = with;
	return run_offering(run->making, offering, run->vm, bound, err);
}

/* ---- the whole --------------------------------------------------------------------------------------------- */

/* A launch template says itself whether its instances are confidential, unless the pod does. */
static bool wants_snp(const struct provider *p, const struct instance_request *r)
{
	const struct aws_options *o = p->options;
	return r->tee == TEE_SNP ||
	       (r->tee == TEE_DEFAULT && !o->disable_cvm && !o->use_launch_template);
}

/* After a failure: what was made, or may have been, goes. Adds to the message what could not be reached. */
static void undo(struct making *m, struct vm *vm, struct error *err)
{
	struct bound bound = {.deadline_ns = deadline_in(UNDO_NS)};
	cleanup_error why = ERROR_INIT;
	const char *token = m->launch.request->token;
	if (!vm->id && !m->sent)
		return;
	if (!vm->id && find_live(m->p, token, vm, &bound) < 0) {
		error_append(err,
			" (whether an instance was made is not known; if so, it has the tag " TAG_TOKEN
			"=%s)",
			token);
		return;
	}
	if (vm_terminate(m->p, vm->id, &bound, &why) < 0)
		error_append(err, " (instance %s is left behind: %s)", vm->id, error_message(&why));
	error_clear(&why);
	if (*m->launch.extras && extras_remove(m->p, NULL, token, &bound, &why) < 0)
		error_append(err, " (something with the tag " TAG_TOKEN "=%s is left behind: %s)",
			token, error_message(&why));
}

/* Without a ranking, by the launch template alone. */
static int run_template(struct making *m, struct vm *vm, bool spot, const struct bound *bound,
	struct error *err)
{
	m->launch.spot = spot;
	return run_offering(m, NULL, vm, bound, err);
}

static int run_candidates(struct making *m, const struct image_facts *image, char *const *subnets,
	bool spot, struct vm *vm, const struct bound *bound, struct error *err)
{
	cleanup(candidates_free) struct candidates candidates = {0};
	struct run run = {m, vm};
	if (candidates_rank(m->p, m->launch.request, image, m->launch.snp, subnets, spot,
		    &candidates, bound, err) < 0)
		return -1;
	choice_log("aws", &candidates.choice);
	return choice_try("aws", &candidates.choice, m->p->refusals, run_ranked, &run, bound, err);
}

/* One market after the other: the next one where EC2 has no room, or nothing of this one fits. */
static int run_markets(struct making *m, const struct image_facts *image, char *const *subnets,
	struct vm *vm, const struct bound *bound, struct error *err)
{
	struct markets markets = markets_of(m->p->options, m->launch.request);
	bool by_template = !image && !candidates_asked(m->launch.request);
	for (size_t i = 0;; i++) {
		cleanup_error why = ERROR_INIT;
		bool spot = markets.spot[i];
		int result = by_template ? run_template(m, vm, spot, bound, &why)
					 : run_candidates(m, image, subnets, spot, vm, bound, &why);
		if (result == 0)
			return 0;
		bool elsewhere = why.kind == ERROR_CAPACITY || why.kind == ERROR_QUOTA ||
				 (why.kind == ERROR_INVALID && !m->tries);
		if (!elsewhere || i + 1 == markets.count)
			return error_move(err, &why);
		log_info("aws: no spot instance, so an on-demand one: %s", error_message(&why));
	}
}

static int make(struct making *m, const char *zone, struct vm *vm, const struct bound *bound,
	struct error *err)
{
	struct provider *p = m->p;
	struct launch *l = &m->launch;
	cleanup_list subnets = NULL;
	static char *anywhere[] = {(char *)"", NULL};
	if (p->options->use_launch_template)
		return run_markets(m, NULL, anywhere, vm, bound, err);
	if (image_look_up(p->images, l->image, &l->image_facts, bound, err) < 0 ||
		image_check(&l->image_facts, l->image, l->snp, err) < 0 ||
		place_network(ec2_place(p->ec2), &l->network, bound, err) < 0 ||
		subnets_in_zone(p, l->network.subnets, zone, &subnets, bound, err) < 0)
		return -1;
	return run_markets(m, &l->image_facts, subnets, vm, bound, err);
}

/* What makes a launched instance, or one found again, what was asked for. */
static int complete(struct making *m, struct vm *vm, const struct bound *bound, struct error *err)
{
	const struct instance_request *r = m->launch.request;
	if (m->launch.snp && (!vm->snp || strcmp(vm->snp, "enabled") != 0))
		return error_set(err, ERROR_UNSUPPORTED,
			"instance %s was made without SEV-SNP (EC2 says: %s), so it is not used",
			vm->id, vm->snp ? vm->snp : "nothing");
	if (volumes_attach(m->p, vm->id, r, bound, err) < 0)
		return -1;
	return extras_make(m->p, vm->id, r, bound, err);
}

int driver_create(struct provider *p, const struct instance_request *r, struct instance *instance,
	const struct bound *bound, struct error *err)
{
	cleanup_vm vm = {0};
	cleanup_error why = ERROR_INIT;
	cleanup(free_ptr) char *zone = NULL;
	if (launch_check(r, err) < 0)
		return -1;
	struct making m = {
		.p = p,
		.launch = {.options = p->options,
			.request = r,
			.image = *r->image ? r->image : p->options->image,
			.image_facts = IMAGE_FACTS_NONE,
			.snp = wants_snp(p, r),
			.extras = extras_wanted(p->options, r)},
	};
	int found = describe(p->by_token, r->token, &vm, bound, &why);
	if (found < 0 && why.kind != ERROR_GONE)
		return error_move(err, &why);
	error_clear(&why);
	if (volumes_check(p, r, vm.id ? vm.id : "", &zone, bound, err) < 0)
		return -1;
	int result = found == 0 ? 0 : make(&m, zone, &vm, bound, &why);
	if (result == 0)
		result = complete(&m, &vm, bound, &why);
	if (result < 0) {
		undo(&m, &vm, &why);
		return error_move(err, &why);
	}
	return vm_give(&vm, p->options->use_public_ip, instance, err);
}
