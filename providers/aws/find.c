/* SPDX-License-Identifier: Apache-2.0 */
/* find.c - instances found again: by token, by id until they have addresses, and all of ours; see driver.h */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/log.h"
#include "providers/aws/driver.h"
#include "providers/aws/failure.h"
#include "providers/aws/resource.h"

/* EC2 shows a new instance to everybody within seconds. */
#define APPEAR_NS (15 * NS_PER_S)
#define REMEMBER_NS (5 * NS_PER_S) /* the pod waits for its failure meanwhile */
#define CONSOLE_MAX ((size_t)256 << 10)

int instance_id_check(const char *id, struct error *err)
{
	size_t digits = strncmp(id, "i-", 2) ? 0 : strspn(id + 2, "0123456789abcdef");
	if (digits >= 8 && digits <= 17 && !id[2 + digits])
		return 0;
	return error_set(err, ERROR_INVALID,
		"\"%s\" is no EC2 instance id: they look like i-0123456789abcdef0", id);
}

int driver_find(struct provider *p, const char *token, struct instance *instance,
	const struct bound *bound, struct error *err)
{
	cleanup_vm vm = {0};
	if (!*token)
		return error_set(err, ERROR_INVALID, "the token is empty");
	if (describe(p->by_token, token, &vm, bound, err) < 0)
		return -1;
	return vm_give(&vm, p->options->use_public_ip, instance, err);
}

/* An instance that ended or stopped will not come up. */
static int vm_check_alive(const struct vm *vm, struct error *err)
{
	const char *state = vm->state ? vm->state : "";
	if (!vm_is_dead(vm) && strcmp(state, "stopping") && strcmp(state, "stopped"))
		return 0;
	/* "Server.InsufficientInstanceCapacity" */
	const char *code = vm->reason_code ? vm->reason_code : "";
	const char *dot = strchr(code, '.');
	enum error_kind kind = failure_kind(dot ? dot + 1 : "", 0);
	if (!strcmp(code, "Client.InternalError"))
		kind = ERROR_INVALID; /* that is what a key of the root volume that may not be used looks like */
	return error_set(err, kind, "instance %s is %s: %s%s%s", vm->id, state,
		*code ? code : "no reason given", vm->reason ? ": " : "",
		vm->reason ? vm->reason : "");
}

/*
 * The end of an instance for want of capacity or quota is remembered like a refused launch. EC2 tells no subnet of one
 * that ended, and capacity is the zone's: so for each of our subnets there.
 */
static void remember_end(struct provider *p, const struct vm *vm, enum error_kind kind,
	const struct bound *bound)
{
	struct place_network network = {0};
	struct bound within = bound_within(bound, REMEMBER_NS);
	cleanup_list subnets = NULL;
	bool by_zone = kind == ERROR_CAPACITY && !p->options->use_launch_template;
	if ((kind != ERROR_CAPACITY && kind != ERROR_QUOTA) || !vm->type || !vm->zone)
		return;
	cleanup(free_ptr) char *family = strndup(vm->type, strcspn(vm->type, "."));
	struct offering o = {.type = vm->type, .family = family, .zone = "", .spot = vm->spot};
	if (family && !by_zone)
		choice_memory_refuse(p->refusals, &o, kind, CHOICE_REFUSAL_NS);
	if (!family || !by_zone || place_network(ec2_place(p->ec2), &network, &within, NULL) < 0 ||
		subnets_in_zone(p, network.subnets, vm->zone, &subnets, &within, NULL) < 0)
		return;
	for (char *const *subnet = subnets; *subnet; subnet++) {
		o.zone = *subnet;
		choice_memory_refuse(p->refusals, &o, kind, CHOICE_REFUSAL_NS);
	}
}

struct wait {
	unsigned looks;
	uint64_t appear_ns;
};

/* One look and what follows from it: 1 done, 0 look again (the pause is over), -1 failed. */
static int look(struct provider *p, const char *id, struct vm *vm,
	bool (*done)(const struct vm *, const void *), const void *with, struct wait *wait,
	const struct bound *bound, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	vm_free(vm);
	if (describe(p->by_id, id, vm, bound, &why) == 0) {
		if (vm_check_alive(vm, &why) < 0) {
			remember_end(p, vm, why.kind, bound);
			return error_move(err, &why);
		}
		if (done(vm, with))
			return 1;
	} else if (why.kind != ERROR_GONE || clock_ns() > wait->appear_ns) {
		return error_move(err, &why);
	}
	return bound_sleep(bound, poll_pause_ns(wait->looks++), "wait for the instance", err);
}

static bool is_running(const struct vm *vm, const void *with)
{
	(void)with;
	return vm->state && !strcmp(vm->state, "running");
}

int vm_wait_running(struct provider *p, const char *id, struct vm *vm, const struct bound *bound,
	struct error *err)
{
	struct wait wait = {.appear_ns = deadline_in(APPEAR_NS)};
	int result;
	while ((result = look(p, id, vm, is_running, NULL, &wait, bound, err)) == 0)
		continue;
	return result < 0 ? -1 : 0;
}

struct addresses_wanted {
	size_t needed;
	bool public_ip;
};

static bool has_addresses(const struct vm *vm, const void *with)
{
	const struct addresses_wanted *wanted = with;
	if (wanted->public_ip && !vm->public_ip)
		return false;
	for (size_t i = 0; i < wanted->needed; i++) {
		if (!vm->nics[i].address && !(i == 0 && wanted->public_ip))
			return false;
	}
	return true;
}

int driver_wait_addresses(struct provider *p, const char *id, size_t needed,
	struct instance *instance, const struct bound *bound, struct error *err)
{
	cleanup_vm vm = {0};
	struct wait wait = {.appear_ns = deadline_in(APPEAR_NS)};
	struct addresses_wanted wanted = {needed, p->options->use_public_ip};
	if (instance_id_check(id, err) < 0)
		return -1;
	if (needed > VM_NICS_MAX)
		return error_set(err, ERROR_INVALID, "%zu addresses are more than an instance has",
			needed);
	int result;
	while ((result = look(p, id, &vm, has_addresses, &wanted, &wait, bound, err)) == 0)
		continue;
	if (result < 0)
		return -1;
	return vm_give(&vm, p->options->use_public_ip, instance, err);
}

/* ---- all of ours ------------------------------------------------------------------------------------------- */

static int list_add(struct provider *p, xmlNode *item, struct instance **list, size_t *count,
	struct error *err)
{
	cleanup_vm vm = {0};
	if (vm_read(item, &vm, err) < 0)
		return -1;
	if (!vm.tags.token || vm_is_dead(&vm))
		return 0;
	struct instance *grown = reallocarray(*list, *count + 1, sizeof(**list));
	if (!grown)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	*list = grown;
	if (vm_give(&vm, p->options->use_public_ip, &grown[*count], err) < 0)
		return -1;
	(*count)++;
	return 0;
}

static int list_live(struct provider *p, const char *cluster, const char *node,
	struct instance **list, size_t *count, const struct bound *bound, struct error *err)
{
	static const char *const live[] = {"pending", "running", "stopping", "stopped", NULL};
	cleanup_query query = {0};
	cleanup_pages pages = {0};
	unsigned n = 3;
	int result;
	query_start(&query, "DescribeInstances", EC2_VERSION);
	query_filter_one(&query, 1, "tag-key", TAG_TOKEN);
	query_filter(&query, 2, "instance-state-name", live);
	if (*cluster)
		query_filter_one(&query, n++, "tag:" TAG_CLUSTER, cluster);
	if (*node)
		query_filter_one(&query, n++, "tag:" TAG_NODE, node);
	query_add(&query, "1000", "MaxResults");
	while ((result = ec2_page(p->ec2, &query, &pages, bound, err)) > 0) {
		xmlNode *r = xml_first_item(pages.page, "reservationSet");
		for (; r; r = xml_next_item(r)) {
			xmlNode *i = xml_first_item(r, "instancesSet");
			for (; i; i = xml_next_item(i)) {
				if (list_add(p, i, list, count, err) < 0)
					return -1;
			}
		}
	}
	return result;
}

static int list_leftover(struct resource *r, struct instance **list, size_t *count,
	struct error *err)
{
	struct instance *grown = reallocarray(*list, *count + 1, sizeof(**list));
	if (!grown)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	*list = grown;
	grown[*count] = (struct instance){.id = r->id, .created = r->created};
	r->id = NULL;
	tags_give(&r->tags, &grown[(*count)++]);
	return 0;
}

/* What carries our tags and is attached to nothing. */
static int list_leftovers(struct provider *p, const struct resource_kind *kind, const char *cluster,
	const char *node, struct instance **list, size_t *count, const struct bound *bound,
	struct error *err)
{
	const char *filters[9] = {"tag-key", TAG_TOKEN};
	cleanup(resource_free_ptr) struct resource *found = NULL;
	cleanup_error why = ERROR_INIT;
	size_t n = 2;
	const char *const more[][2] = {{"tag:" TAG_CLUSTER, cluster}, {"tag:" TAG_NODE, node}};
	for (size_t i = 0; i < array_size(more); i++) {
		if (*more[i][1]) {
			filters[n++] = more[i][0];
			filters[n++] = more[i][1];
		}
	}
	resource_free_filter(kind, &filters[n]);
	if (resources_find(p->ec2, kind, filters, &found, bound, &why) < 0) {
		/* A policy from before leftovers were looked for: instances are listed all the same. */
		if (why.kind != ERROR_DENIED)
			return error_move(err, &why);
		log_warn("aws: a %s that is left over is not seen: %s", resource_kind_name(kind),
			error_message(&why));
		return 0;
	}
	for (struct resource *r = found; r; r = r->next) {
		if (!r->user && list_leftover(r, list, count, err) < 0)
			return -1;
	}
	return 0;
}

int driver_list(struct provider *p, const char *cluster, const char *node,
	struct instance **instances, size_t *count, const struct bound *bound, struct error *err)
{
	struct instance *list = NULL;
	size_t n = 0;
	int result = list_live(p, cluster, node, &list, &n, bound, err);
	for (size_t i = 0; result == 0 && resource_kinds[i]; i++)
		result = list_leftovers(p, resource_kinds[i], cluster, node, &list, &n, bound, err);
	if (result < 0) {
		instances_free(list, n);
		return -1;
	}
	*instances = list;
	*count = n;
	return 0;
}

char *driver_console_tail(struct provider *p, const char *id, size_t max, const struct bound *bound)
{
	cleanup_query query = {0};
	cleanup_xml *reply = NULL;
	cleanup(buf_free) struct buf text = BUF_INIT;
	if (instance_id_check(id, NULL) < 0)
		return strdup("");
	query_start(&query, "GetConsoleOutput", EC2_VERSION);
	query_add(&query, id, "InstanceId");
	if (ec2_call(p->ec2, EC2_READ, &query, &reply, bound, NULL) < 0)
		return strdup("");
	cleanup(free_ptr) char *output = xml_text(xmlDocGetRootElement(reply), "output");
	if (!output || base64_decode(output, strlen(output), CONSOLE_MAX, &text, NULL) < 0)
		return strdup("");
	return strndup(buf_text(&text) + (text.len > max ? text.len - max : 0), max);
}
