/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.c - see watch.h
 *
 * Keys of the batches: "vm:<name in lower case>" and "token:<token>". The budget of lists of VMs is small (some 140 in
 * three minutes), those of the network provider are large: hence the two intervals.
 */
#include "providers/azure/watch.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/batch.h"
#include "providers/azure/name.h"
#include "providers/azure/tags.h"
#include "providers/azure/vm.h"

#define VMS_INTERVAL_NS (1500 * NS_PER_MS)
#define PARTS_INTERVAL_NS (500 * NS_PER_MS)
#define KEYS_MAX 512
#define KEY_SIZE 160

struct parts_watch {
	struct watch *watch;
	enum part part;
	struct batch *batch;
};

struct watch {
	struct arm *arm;
	const struct azure_options *options;
	struct batch *vms;
	struct parts_watch parts[PARTS];
};

static const struct {
	const char *name, *list, *kind, *version;
} parts[PARTS] = {
	[PART_NIC] = {"NIC", "list NICs", "Microsoft.Network/networkInterfaces", VERSION_NETWORK},
	[PART_IP] = {"public address", "list public addresses",
		"Microsoft.Network/publicIPAddresses", VERSION_NETWORK},
	[PART_DISK] = {"disk", "list disks", "Microsoft.Compute/disks", VERSION_DISK},
};

const char *part_name(enum part part)
{
	return parts[part].name;
}

const char *part_list_what(enum part part)
{
	return parts[part].list;
}

const char *part_version(enum part part)
{
	return parts[part].version;
}

void part_path(enum part part, const char *subscription, const char *group, char *path, size_t size)
{
	snprintf(path, size, "/subscriptions/%s/resourceGroups/%s/providers/%s?api-version=%s",
		subscription, group, parts[part].kind, parts[part].version);
}

void vms_path(const char *subscription, const char *group, char *path, size_t size)
{
	snprintf(path, size,
		"/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/virtualMachines?api-version=%s",
		subscription, group, VERSION_VM);
}

const char *part_vm(enum part part, const json_t *resource, char *vm_name)
{
	const char *tagged = tag_of(resource, TAG_VM);
	*vm_name = '\0';
	if (*tagged && *tag_of(resource, TAG_TOKEN))
		snprintf(vm_name, VM_NAME_SIZE, "%s", tagged);
	else if (part == PART_DISK)
		disk_name_split(resource_name(resource), vm_name);
	return vm_name;
}

bool part_is_of(enum part part, const json_t *resource, const char *vm_name)
{
	char found[VM_NAME_SIZE];
	if (!strcasecmp(part_vm(part, resource, found), vm_name))
		return true;
	const char *owner = part == PART_NIC ? strrchr(nic_vm(resource), '/') : NULL;
	return owner && !strcasecmp(owner + 1, vm_name);
}

/* ---- asking -------------------------------------------------------------------------------------------------- */

static void vm_key(const char *name, char key[KEY_SIZE])
{
	int len = snprintf(key, KEY_SIZE, "vm:%s", name);
	for (int i = 0; i < len && i < KEY_SIZE - 1; i++)
		key[i] = (char)tolower((unsigned char)key[i]);
}

static void token_key(const char *token, char key[KEY_SIZE])
{
	snprintf(key, KEY_SIZE, "token:%s", token);
}

static int gather(void *with, const json_t *item, struct error *err)
{
	return json_array_append((json_t *)with, (json_t *)item) == 0
		       ? 0
		       : error_set(err, ERROR_CAPACITY, "out of memory");
}

static json_t *list_all(struct arm *arm, const char *what, const char *path,
	const struct bound *bound, struct error *err)
{
	cleanup_json *all = json_array();
	if (!all) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	return arm_list(arm, what, path, gather, all, bound, err) < 0 ? NULL : take_ptr(all);
}

/* Where a token has several, the one that lives is told. */
static int ask_vms(void *with, struct batch *batch, char *const *keys, const struct bound *bound,
	struct error *err)
{
	static const enum vm_state order[] = {VM_READY, VM_COMING, VM_FAILED, VM_GOING};
	struct watch *w = with;
	char path[512], key[KEY_SIZE];
	(void)keys;
	vms_path(w->options->subscription, w->options->resource_group, path, sizeof(path));
	cleanup_json *all = list_all(w->arm, "list VMs", path, bound, err);
	if (!all)
		return -1;
	for (size_t s = 0; s < array_size(order); s++) {
		size_t i;
		json_t *vm;
		json_array_foreach(all, i, vm)
		{
			if (vm_state(vm) != order[s])
				continue;
			vm_key(resource_name(vm), key);
			batch_answer(batch, key, vm);
			token_key(tag_of(vm, TAG_TOKEN), key);
			batch_answer(batch, key, vm);
		}
	}
	return 0;
}

static int ask_parts(void *with, struct batch *batch, char *const *keys, const struct bound *bound,
	struct error *err)
{
	struct parts_watch *p = with;
	const struct azure_options *o = p->watch->options;
	char path[512];
	part_path(p->part, o->subscription, o->resource_group, path, sizeof(path));
	cleanup_json *all = list_all(p->watch->arm, parts[p->part].list, path, bound, err);
	if (!all)
		return -1;
	for (char *const *key = keys; *key; key++) {
		cleanup_json *found = json_array();
		bool by_vm = !strncmp(*key, "vm:", 3);
		const char *wanted = strchr(*key, ':') + 1;
		size_t i;
		json_t *one;
		json_array_foreach(all, i, one)
		{
			if (by_vm ? part_is_of(p->part, one, wanted)
				  : !strcmp(tag_of(one, TAG_TOKEN), wanted))
				json_array_append(found, one);
		}
		if (found)
			batch_answer(batch, *key, found);
	}
	return 0;
}

static void *copy(const void *value)
{
	return json_deep_copy(value);
}

static void drop(void *value)
{
	json_decref(value);
}

struct watch *watch_new(struct arm *arm, const struct azure_options *o)
{
	static const struct batch_kind vms = {.what = "list VMs",
		.interval_ns = VMS_INTERVAL_NS,
		.keys_max = KEYS_MAX,
		.ask = ask_vms,
		.copy = copy,
		.free = drop};
	static const struct batch_kind of_parts = {.what = "list parts of VMs",
		.interval_ns = PARTS_INTERVAL_NS,
		.keys_max = KEYS_MAX,
		.ask = ask_parts,
		.copy = copy,
		.free = drop};
	struct watch *w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->arm = arm;
	w->options = o;
	w->vms = batch_new(&vms, w);
	bool good = w->vms;
	for (unsigned i = 0; i < PARTS; i++) {
		w->parts[i].watch = w;
		w->parts[i].part = (enum part)i;
		w->parts[i].batch = batch_new(&of_parts, &w->parts[i]);
		good = good && w->parts[i].batch;
	}
	if (good)
		return w;
	watch_free(w);
	return NULL;
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	batch_free(w->vms);
	for (unsigned i = 0; i < PARTS; i++)
		batch_free(w->parts[i].batch);
	free(w);
}

static int get(struct batch *batch, const char *key, json_t **value, const struct bound *bound,
	struct error *err)
{
	void *answer = NULL;
	*value = NULL;
	if (batch_get(batch, key, &answer, bound, err) < 0)
		return -1;
	*value = answer;
	return 0;
}

int watch_vm(struct watch *w, const char *name, json_t **vm, const struct bound *bound,
	struct error *err)
{
	char key[KEY_SIZE];
	vm_key(name, key);
	return get(w->vms, key, vm, bound, err);
}

int watch_vm_of_token(struct watch *w, const char *token, json_t **vm, const struct bound *bound,
	struct error *err)
{
	char key[KEY_SIZE];
	token_key(token, key);
	return get(w->vms, key, vm, bound, err);
}

int watch_parts(struct watch *w, enum part part, const char *vm_name, json_t **list,
	const struct bound *bound, struct error *err)
{
	char key[KEY_SIZE];
	vm_key(vm_name, key);
	return get(w->parts[part].batch, key, list, bound, err);
}

int watch_parts_of_token(struct watch *w, enum part part, const char *token, json_t **list,
	const struct bound *bound, struct error *err)
{
	char key[KEY_SIZE];
	token_key(token, key);
	return get(w->parts[part].batch, key, list, bound, err);
}
