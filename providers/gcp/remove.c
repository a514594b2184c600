/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remove.c - an instance is deleted, and its boot disk and addresses go with it; see driver.h
 *
 * What is not labelled ours is never touched, and what is gone is success. The machine's own shutdown is not waited for:
 * the pod has ended.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/log.h"
#include "http/attempt.h"
#include "providers/gcp/driver.h"
#include "providers/gcp/encode.h"

#define FAULTS_MAX 6

/* Each deletion is a request of its own: what an earlier one came to is of no interest. */
static int random_uuid(char out[UUID_SIZE], struct error *err)
{
	unsigned char random[16];
	char text[2 * sizeof(random) + 1] = "";
	cleanup(buf_free) struct buf hex = BUF_INIT;
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return error_set(err, ERROR_INTERNAL, "no random numbers");
	hex_encode(random, sizeof(random), &hex);
	snprintf(text, sizeof(text), "%s", buf_text(&hex));
	const char *const words[] = {text, NULL};
	return request_uuid(words, out, err);
}

/* Sends a DELETE and waits for its operation. 0: it is gone. */
static int delete_path(struct provider *p, const char *what, const char *project, const char *path,
	bool *accepted, const struct bound *bound, struct error *err)
{
	struct attempt attempt = {.who = "gcp", .faults_max = FAULTS_MAX};
	for (;;) {
		cleanup_json *reply = NULL;
		cleanup_operation op = {0};
		cleanup_error why = ERROR_INIT;
		cleanup(buf_free) struct buf url = BUF_INIT;
		char uuid[UUID_SIZE];
		if (random_uuid(uuid, err) < 0)
			return -1;
		buf_append_text(&url, path);
		query_add(&url, "requestId", uuid);
		const struct compute_call call = {.what = what,
			.class = COMPUTE_CHANGE,
			.method = "DELETE",
			.path = buf_text(&url),
			.faults = 1};
		if (compute_call(p->compute, &call, &reply, NULL, bound, &why) == 0 &&
			operation_read(reply, &op, &why) == 0) {
			if (accepted)
				*accepted = true;
			if (op.err.kind != ERROR_NONE)
				error_move(&why, &op.err);
			else if (op.done ||
				 operation_wait(p->compute, project, &op, bound, &why) == 0)
				return 0;
		}
		if (why.kind == ERROR_GONE)
			return 0;
		if (attempt_again(&attempt, 0, bound, &why))
			continue;
		return error_move(err, &why);
	}
}

int disk_delete_leftover(struct provider *p, const char *project, const char *zone,
	const char *name, const char *token, const struct bound *bound, struct error *err)
{
	cleanup_json *disk = NULL;
	cleanup_error why = ERROR_INIT;
	cleanup(buf_free) struct buf path = BUF_INIT;
	buf_printf(&path, "projects/%s/zones/%s/disks/%s", project, zone, name);
	if (compute_get(p->compute, "disks.get", buf_text(&path), &disk, bound, &why) < 0)
		return why.kind == ERROR_GONE ? 0 : error_move(err, &why);
	const char *theirs =
		json_string_value(json_object_get(json_object_get(disk, "labels"), LABEL_TOKEN));
	if (!theirs || (token && strcmp(theirs, token) != 0) ||
		json_array_size(json_object_get(disk, "users")))
		return 0;
	log_info("gcp: disk %s in zone %s is left of an instance that is gone: deleting it", name,
		zone);
	if (delete_path(p, "disks.delete", project, buf_text(&path), NULL, bound, err) < 0)
		return -1;
	return 1;
}

int vm_get(struct provider *p, const char *project, const char *zone, const char *name,
	struct vm *vm, const struct bound *bound, struct error *err)
{
	cleanup_json *reply = NULL;
	cleanup(buf_free) struct buf path = BUF_INIT;
	buf_printf(&path, "projects/%s/zones/%s/instances/%s", project, zone, name);
	query_add(&path, "fields", VM_FIELDS);
	if (compute_get(p->compute, "instances.get", buf_text(&path), &reply, bound, err) < 0)
		return -1;
	return vm_read(reply, vm, err);
}

int vm_delete(struct provider *p, const char *project, const char *zone, const char *name,
	bool *accepted, const struct bound *bound, struct error *err)
{
	cleanup(buf_free) struct buf path = BUF_INIT;
	buf_printf(&path, "projects/%s/zones/%s/instances/%s?noGracefulShutdown=true", project,
		zone, name);
	if (delete_path(p, "instances.delete", project, buf_text(&path), accepted, bound, err) < 0)
		return -1;
	return disk_delete_leftover(p, project, zone, name, NULL, bound, err) < 0 ? -1 : 0;
}

/* ---- by id ------------------------------------------------------------------------------------------------- */

struct leftovers {
	char zones[4][ZONE_SIZE];
	size_t count;
};

static int leftover_add(void *with, const json_t *disk, struct error *err)
{
	struct leftovers *l = with;
	const char *zone = json_string_value(json_object_get(disk, "zone"));
	(void)err;
	if (zone && name_is_plain(path_last(zone)) && l->count < array_size(l->zones))
		snprintf(l->zones[l->count++], ZONE_SIZE, "%s", path_last(zone));
	return 0;
}

/* The instance is gone; its disk may be anywhere. */
static int delete_leftovers(struct provider *p, const char *project, const char *name,
	const struct bound *bound, struct error *err)
{
	struct leftovers found = {0};
	cleanup(buf_free) struct buf filter = BUF_INIT;
	buf_printf(&filter, "(name=\"%s\") (labels." LABEL_TOKEN ":*)", name);
	if (disks_each(p->compute, project, buf_text(&filter), leftover_add, &found, bound, err) <
		0)
		return -1;
	for (size_t i = 0; i < found.count; i++) {
		if (disk_delete_leftover(p, project, found.zones[i], name, NULL, bound, err) < 0)
			return -1;
	}
	return 0;
}

/* "projects/P/zones/Z/instances/N", or N alone (zone is "" then). */
static int id_read(const char *id, const char *project, char zone[ZONE_SIZE], char name[NAME_SIZE],
	struct error *err)
{
	char of[128] = "";
	*zone = '\0';
	if (strchr(id, '/') &&
		(!path_part(id, "projects", of, sizeof(of)) || strcmp(of, project) != 0 ||
			!path_part(id, "zones", zone, ZONE_SIZE) || !name_is_plain(zone) ||
			!strstr(id, "/instances/")))
		return error_set(err, ERROR_INVALID,
			"\"%.200s\" is no instance of project %s: projects/%s/zones/Z/instances/N",
			id, project, project);
	if (!name_is_plain(path_last(id)))
		return error_set(err, ERROR_INVALID,
			"\"%.200s\" is no name of an instance: they have at most 63 of a-z, 0-9 and -",
			id);
	snprintf(name, NAME_SIZE, "%s", path_last(id));
	return 0;
}

int driver_delete(struct provider *p, const char *id, const struct bound *bound, struct error *err)
{
	cleanup_vm vm = {0};
	cleanup_error why = ERROR_INIT;
	struct location at;
	char zone[ZONE_SIZE], name[NAME_SIZE];
	if (!*id)
		return error_set(err, ERROR_INVALID, "the id of the instance is empty");
	if (place_find(p->place, &at, bound, err) < 0 ||
		id_read(id, at.project, zone, name, err) < 0)
		return -1;
	int result = *zone ? vm_get(p, at.project, zone, name, &vm, bound, &why)
			   : describe(p->far_name, name, &vm, bound, &why);
	if (result < 0 && why.kind == ERROR_GONE) {
		log_debug("gcp: instance %s is gone already", id);
		error_clear(&why);
		result = delete_leftovers(p, at.project, name, bound, &why);
	} else if (result == 0 && !vm_is_ours(&vm)) {
		return error_set(err, ERROR_DENIED,
			"instance %s in zone %s carries no label " LABEL_TOKEN
			", so it was not made by this system: it is not deleted",
			name, vm.zone);
	} else if (result == 0) {
		result = vm_delete(p, at.project, vm.zone, name, NULL, bound, &why);
	}
	if (result == 0)
		return 0;
	error_move(err, &why);
	return error_prefix(err, "delete instance %s", id);
}
