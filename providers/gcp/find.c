/* SPDX-License-Identifier: Apache-2.0 */
/* find.c - instances found again: by token, by id until they have addresses, and all of ours; see driver.h */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "http/attempt.h"
#include "providers/gcp/driver.h"
#include "providers/gcp/encode.h"
#include "providers/gcp/failure.h"

/* A new instance is shown to everybody within seconds. */
#define APPEAR_NS (10 * NS_PER_S)
#define API_URL "https://www.googleapis.com/compute/v1/"

int driver_find(struct provider *p, const char *token, struct instance *instance,
	const struct bound *bound, struct error *err)
{
	cleanup_vm vm = {0};
	if (!*token || strspn(token, "0123456789abcdef-") != strlen(token))
		return error_set(err, ERROR_INVALID, "the token must have hexadecimal digits");
	if (describe(p->far_token, token, &vm, bound, err) < 0)
		return -1;
	return vm_give(&vm, p->options->use_public_ip, instance, err);
}

/* ---- addresses --------------------------------------------------------------------------------------------- */

static bool has_addresses(const struct vm *vm, size_t needed, bool public_ip)
{
	if (public_ip && !vm->public_ip)
		return false;
	for (size_t i = 0; i < needed; i++) {
		if (!vm->addresses[i] && !(i == 0 && public_ip))
			return false;
	}
	return true;
}

/* The failure of the operation that made it, if that can be found. */
static bool insert_failure(struct provider *p, const char *project, const char *zone,
	const char *name, const struct bound *bound, struct error *err)
{
	cleanup(buf_free) struct buf path = BUF_INIT, filter = BUF_INIT;
	cleanup_json *reply = NULL;
	size_t i;
	json_t *item;
	buf_printf(&filter,
		"(operationType=\"insert\") (targetLink=\"" API_URL
		"projects/%s/zones/%s/instances/%s\")",
		project, zone, name);
	buf_printf(&path, "projects/%s/zones/%s/operations", project, zone);
	query_add(&path, "filter", buf_text(&filter));
	query_add(&path, "maxResults", "20");
	if (compute_get(p->compute, "zoneOperations.list", buf_text(&path), &reply, bound, NULL) <
		0)
		return false;
	json_array_foreach(json_object_get(reply, "items"), i, item)
	{
		if (failure_of_operation(item, err) < 0)
			return true;
	}
	return false;
}

/* It will not come up: says why, as far as the cloud does. */
static int gone_wrong(struct provider *p, const struct location *at, const char *name,
	const struct vm *vm, const struct bound *bound, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	bool told = false;
	for (char *const *z = at->zones; *z && !told; z++) {
		if (!vm->zone || !strcmp(vm->zone, *z))
			told = insert_failure(p, at->project, *z, name, bound, &why);
	}
	if (told) {
		error_move(err, &why);
		return error_prefix(err, "instance %s", name);
	}
	if (!vm->status)
		return error_set(err, ERROR_GONE, "instance %s is gone", name);
	return error_set(err, ERROR_RETRY, "instance %s is %s%s%s", name, vm->status,
		vm->status_message ? ": " : "", vm->status_message ? vm->status_message : "");
}

int driver_wait_addresses(struct provider *p, const char *id, size_t needed,
	struct instance *instance, const struct bound *bound, struct error *err)
{
	struct location at;
	uint64_t appear_ns = deadline_in(APPEAR_NS);
	const char *name = path_last(id);
	bool public_ip = p->options->use_public_ip;
	if (!name_is_plain(name))
		return error_set(err, ERROR_INVALID, "\"%.200s\" is no name of an instance", id);
	if (needed > VM_NICS_MAX)
		return error_set(err, ERROR_INVALID, "%zu addresses are more than an instance has",
			needed);
	if (place_find(p->place, &at, bound, err) < 0)
		return -1;
	for (unsigned looks = 0;; looks++) {
		cleanup_vm vm = {0};
		cleanup_error why = ERROR_INIT;
		int found = describe(p->near_name, name, &vm, bound, &why);
		/* One of before a change of GCP_ZONE is elsewhere. */
		if (found < 0 && why.kind == ERROR_GONE) {
			error_clear(&why);
			found = describe(p->far_name, name, &vm, bound, &why);
		}
		if (found == 0) {
			if (vm_is_dead(&vm))
				return gone_wrong(p, &at, name, &vm, bound, err);
			if (has_addresses(&vm, needed, public_ip))
				return vm_give(&vm, public_ip, instance, err);
		} else if (why.kind != ERROR_GONE) {
			return error_move(err, &why);
		} else if (clock_ns() > appear_ns) {
			return gone_wrong(p, &at, name, &vm, bound, err);
		}
		if (bound_sleep(bound, poll_pause_ns(looks), "wait for the addresses", err) < 0)
			return -1;
	}
}

/* ---- all of ours ------------------------------------------------------------------------------------------- */

struct listing {
	const char *cluster, *node;
	bool public_ip;
	struct instance *list;
	size_t count;
};

static bool is_asked_for(const char *asked, const char *theirs)
{
	return !*asked || (theirs && !strcmp(asked, theirs));
}

static int listing_give(struct listing *l, struct vm *vm, struct error *err)
{
	if (!vm_is_ours(vm) || !is_asked_for(l->cluster, vm->cluster) ||
		!is_asked_for(l->node, vm->node))
		return 0;
	struct instance *grown = reallocarray(l->list, l->count + 1, sizeof(*grown));
	if (!grown)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	l->list = grown;
	if (vm_give(vm, l->public_ip, &grown[l->count], err) < 0)
		return -1;
	l->count++;
	return 0;
}

static int listing_add(void *with, const json_t *item, struct error *err)
{
	cleanup_vm vm = {0};
	/* One that cannot be read is no reason not to see the others. */
	return vm_read(item, &vm, NULL) < 0 ? 0 : listing_give(with, &vm, err);
}

/* A boot disk whose instance is gone is a leftover under the instance's name. */
static int listing_add_disk(void *with, const json_t *item, struct error *err)
{
	struct listing *l = with;
	cleanup_vm vm = {0};
	cleanup_json *like = json_copy((json_t *)item);
	const char *name = json_string_value(json_object_get(item, "name"));
	if (json_array_size(json_object_get(item, "users")) || !name)
		return 0;
	for (size_t i = 0; i < l->count; i++) {
		if (!strcmp(l->list[i].id, name))
			return 0;
	}
	if (!like || json_object_set_new(like, "status", json_string("TERMINATED")) < 0)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	return vm_read(like, &vm, NULL) < 0 ? 0 : listing_give(l, &vm, err);
}

static void filter_label(struct buf *filter, const char *label, const char *value)
{
	char encoded[NAME_SIZE];
	label_value(value, encoded);
	if (*value)
		buf_printf(filter, " (labels.%s=\"%s\")", label, encoded);
}

int driver_list(struct provider *p, const char *cluster, const char *node,
	struct instance **instances, size_t *count, const struct bound *bound, struct error *err)
{
	struct location at;
	struct listing l = {cluster, node, p->options->use_public_ip, NULL, 0};
	cleanup(buf_free) struct buf filter = BUF_INIT;
	buf_append_text(&filter, "(labels." LABEL_TOKEN ":*)");
	filter_label(&filter, LABEL_CLUSTER, cluster);
	filter_label(&filter, LABEL_NODE, node);
	if (place_find(p->place, &at, bound, err) < 0)
		return -1;
	if (instances_each(p->compute, at.project, "", buf_text(&filter), listing_add, &l, bound,
		    err) < 0 ||
		disks_each(p->compute, at.project, buf_text(&filter), listing_add_disk, &l, bound,
			err) < 0) {
		instances_free(l.list, l.count);
		return -1;
	}
	*instances = l.list;
	*count = l.count;
	return 0;
}

char *driver_console_tail(struct provider *p, const char *id, size_t max, const struct bound *bound)
{
	cleanup_json *reply = NULL;
	cleanup_vm vm = {0};
	cleanup(buf_free) struct buf path = BUF_INIT;
	struct location at;
	const char *name = path_last(id);
	if (!name_is_plain(name) || place_find(p->place, &at, bound, NULL) < 0 ||
		describe(p->near_name, name, &vm, bound, NULL) < 0)
		return strdup("");
	buf_printf(&path, "projects/%s/zones/%s/instances/%s/serialPort?port=1", at.project,
		vm.zone, name);
	if (compute_get(p->compute, "instances.getSerialPortOutput", buf_text(&path), &reply, bound,
		    NULL) < 0)
		return strdup("");
	const char *text = json_string_value(json_object_get(reply, "contents"));
	size_t len = text ? strlen(text) : 0;
	return strndup(text ? text + (len > max ? len - max : 0) : "", max);
}
