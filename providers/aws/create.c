/* SPDX-License-Identifier: Apache-2.0 */
/*
 * create.c - an instance is made, or the one of this token found; see driver.h
 *
 * 1. Look for a live instance with the token's tag: after a crash it may be there.
 * 2. Rank what may be launched where (providers/choice) and try one after the other while EC2 says that it has no
 *    capacity there or the account no quota; what was refused is remembered.
 * 3. RunInstances carries a ClientToken, so a repeated call makes no second instance. EC2 remembers tokens also of
 *    instances that have ended, and refuses one that comes with other parameters: then the next one is used,
 *    token, token-2, token-3 ..., after a look for a live instance.
 * 4. Attach existing volumes, which needs a running instance.
 *
 * What fails after an instance was made, or may have been, terminates it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "providers/aws/driver.h"
#include "providers/aws/failure.h"
#include "providers/aws/launch.h"
#include "providers/choice/fallback.h"

#define TRIES_MAX 32
#define UNDO_NS (15 * NS_PER_S)
#define MISMATCH_LOOKS 3

/* ---- what may be launched where ---------------------------------------------------------------------------- */

struct offerings {
	struct type_facts *facts;
	struct offering *list;
	size_t count;
	struct choice choice;
	char **types, **allowed, **subnets;
};

static void offerings_free(struct offerings *o)
{
	choice_free(&o->choice);
	free(o->facts);
	free(o->list);
	list_free(o->types);
	list_free(o->allowed);
	list_free(o->subnets);
}

/* The allowed types, and what the pod asks for, so that it is told why it cannot have it. */
static char **candidate_types(const struct aws_options *o, const char *asked)
{
	const char *allowed = *o->instance_types ? o->instance_types : o->instance_type;
	cleanup(buf_free) struct buf text = BUF_INIT;
	char **list = list_split(allowed);
	bool listed = !*asked;
	for (char **p = list; p && *p; p++)
		listed |= !strcmp(*p, asked);
	if (!list || listed)
		return list;
	list_free(list);
	buf_printf(&text, "%s,%s", allowed, asked);
	return list_split(buf_text(&text));
}

static int offerings_multiply(struct offerings *o, size_t facts, bool spot, struct error *err)
{
	size_t subnets = 0;
	while (o->subnets[subnets])
		subnets++;
	o->list = calloc(facts * subnets + 1, sizeof(*o->list));
	if (!o->list)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	for (size_t f = 0; f < facts; f++) {
		for (size_t s = 0; s < subnets; s++) {
			struct offering *one = &o->list[o->count++];
			*one = o->facts[f].offering;
			one->zone = o->subnets[s];
			one->spot = spot;
		}
	}
	return 0;
}

static int offerings_rank(struct provider *p, const struct instance_request *r, bool snp,
	struct offerings *o, const struct bound *bound, struct error *err)
{
	const struct aws_options *options = p->options;
	size_t facts = 0;
	o->types = candidate_types(options, r->instance_type);
	o->allowed = list_split(options->instance_types);
	if (!o->types || !o->allowed)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	if (catalogue_types(p->catalogue, o->types, &o->facts, &facts, bound, err) < 0 ||
		offerings_multiply(o, facts, options->spot, err) < 0)
		return -1;
	const struct choice_request request = {
		.vcpus = r->vcpus,
		.memory_mib = r->memory_mib,
		.gpus = r->gpus,
		.tees = snp ? CHOICE_TEE_SNP : 0,
		.type = r->instance_type,
		.default_type = options->instance_type,
		.allowed = (const char *const *)o->allowed,
		.spot = options->spot,
		.on_demand = !options->spot,
		.nics = r->second_nic ? 2 : 1,
		.volumes = (int64_t)r->volume_count,
	};
	if (choice_rank(o->list, o->count, &request, p->refusals, &o->choice, err) == 0)
		return 0;
	/* Nothing but what EC2 refused a short while ago is no mistake of the pod's. */
	if (err && err->kind == ERROR_INVALID &&
		strstr(error_message(err), "refused a short while ago"))
		err->kind = ERROR_CAPACITY;
	return -1;
}

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

static bool wants_snp(const struct provider *p, const struct instance_request *r)
{
	return r->tee == TEE_SNP || (r->tee == TEE_DEFAULT && !p->options->disable_cvm);
}

static int image_check(const struct image_facts *facts, const char *image, bool snp,
	struct error *err)
{
	if (*facts->state && strcmp(facts->state, "available") != 0)
		return error_set(err, ERROR_INVALID, "image %s is %s, not available", image,
			facts->state);
	if (snp && *facts->architecture && strcmp(facts->architecture, "x86_64") != 0)
		return error_set(err, ERROR_INVALID, "image %s is for %s: SEV-SNP needs x86_64",
			image, facts->architecture);
	if (snp && !strcmp(facts->boot_mode, "legacy-bios"))
		return error_set(err, ERROR_INVALID,
			"image %s boots by BIOS: SEV-SNP needs UEFI (register it with boot mode uefi), or set "
			"DISABLECVM=true",
			image);
	return 0;
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
			" (whether an instance was made is not known; if so, it has the tag peerpod-token=%s)",
			token);
		return;
	}
	if (vm_terminate(m->p, vm->id, &bound, &why) < 0)
		error_append(err, " (instance %s is left behind: %s)", vm->id, error_message(&why));
}

static int make(struct making *m, bool snp, const char *zone, struct vm *vm,
	const struct bound *bound, struct error *err)
{
	struct provider *p = m->p;
	const struct instance_request *r = m->launch.request;
	cleanup(offerings_free) struct offerings offerings = {0};
	if (p->options->use_launch_template)
		return run_offering(m, NULL, vm, bound, err);
	if (catalogue_image(p->catalogue, m->launch.image, &m->launch.image_facts, bound, err) <
			0 ||
		image_check(&m->launch.image_facts, m->launch.image, snp, err) < 0 ||
		place_network(ec2_place(p->ec2), &m->launch.network, bound, err) < 0 ||
		subnets_in_zone(p, m->launch.network.subnets, zone, &offerings.subnets, bound,
			err) < 0 ||
		offerings_rank(p, r, snp, &offerings, bound, err) < 0)
		return -1;
	choice_log("aws", &offerings.choice);
	struct run run = {m, vm};
	if (choice_try("aws", &offerings.choice, p->refusals, run_ranked, &run, bound, err) < 0)
		return -1;
	if (snp && (!vm->snp || strcmp(vm->snp, "enabled") != 0))
		return error_set(err, ERROR_UNSUPPORTED,
			"instance %s was made without SEV-SNP (EC2 says: %s), so it is not used",
			vm->id, vm->snp ? vm->snp : "nothing");
	return 0;
}

int driver_create(struct provider *p, const struct instance_request *r, struct instance *instance,
	const struct bound *bound, struct error *err)
{
	cleanup_vm vm = {0};
	cleanup_error why = ERROR_INIT;
	cleanup(free_ptr) char *zone = NULL;
	if (launch_check(p->options, r, err) < 0)
		return -1;
	struct making m = {
		.p = p,
		.launch = {.options = p->options,
			.request = r,
			.image = *r->image ? r->image : p->options->image,
			.snp = wants_snp(p, r)},
	};
	int found = describe(p->by_token, r->token, &vm, bound, &why);
	if (found < 0 && why.kind != ERROR_GONE)
		return error_move(err, &why);
	error_clear(&why);
	if (volumes_check(p, r, vm.id ? vm.id : "", &zone, bound, err) < 0)
		return -1;
	int result = found == 0 ? 0 : make(&m, m.launch.snp, zone, &vm, bound, &why);
	if (result == 0)
		result = volumes_attach(p, vm.id, r, bound, &why);
	if (result < 0) {
		undo(&m, &vm, &why);
		return error_move(err, &why);
	}
	return vm_give(&vm, p->options->use_public_ip, instance, err);
}
