/* SPDX-License-Identifier: Apache-2.0 */
/*
 * create.c - an instance is made, or the one of this token found; see driver.h
 *
 * 1. Look for a live instance with the token's label: after a crash it may be there.
 * 2. Rank what may be launched where (providers/choice) and try one after the other while there is no room or no quota;
 *    what was refused is remembered. A subnetwork without a free address is one for all types and zones of its region:
 *    what comes next is in another region, and nothing is remembered, for it says nothing of the offering.
 * 3. instances.insert carries a requestId made of the token, the place and a count. The cloud remembers such ids for
 *    about an hour: the same one is the same operation, whatever the body says. If that was one that failed or whose
 *    instance has ended meanwhile, the count goes up.
 * 4. A name that somebody else has gets a tail, also made of the token.
 * 5. Room is found, or not, while the operation runs: list calls shared by all pods show the instance, and its operation.
 *    As soon as it is placed on a host the id is given out; it boots while the caller goes on.
 *
 * What fails after an instance was made, or may have been, deletes it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "http/attempt.h"
#include "providers/choice/fallback.h"
#include "providers/gcp/driver.h"
#include "providers/gcp/failure.h"
#include "providers/gcp/family.h"
#include "providers/gcp/insert.h"

#define TRIES_MAX 24 /* of one offering: names and requestIds */
#define UNDO_NS (25 * NS_PER_S)
#define UNDO_LOOKS 3
#define REPLAY_S 2   /* an operation that is older than the question is one of before */
#define FAULTS_MAX 3 /* operations that end with a passing fault */

struct making {
	struct provider *p;
	struct insert in;
	struct location at;
	unsigned name_tries;                   /* names that others have */
	char name[NAME_SIZE], zone[ZONE_SIZE]; /* of what was asked for last */
	bool sent;                             /* it is there, or may be */
	bool subnetwork_is_full;               /* the last offering found it so */
	struct vm vm;                          /* once it is there */
};

enum step { STEP_FAILED = -1, STEP_AGAIN, STEP_NEXT_ID, STEP_MADE };

static bool is_mine(const struct making *m, const struct vm *vm)
{
	return vm->token && !strcmp(vm->token, m->in.request->token);
}

/* Something has our name. */
static enum step conflict(struct making *m, const struct bound *bound, struct error *err)
{
	cleanup_vm vm = {0};
	cleanup_error why = ERROR_INIT;
	const char *project = m->at.project;
	if (vm_get(m->p, project, m->zone, m->name, &vm, bound, &why) == 0) {
		if (is_mine(m, &vm) && !vm_is_dead(&vm)) {
			m->vm = vm;
			vm = (struct vm){0};
			m->sent = true;
			return STEP_MADE;
		}
		log_info("gcp: instance %s in %s exists and is %s: another name is taken", m->name,
			m->zone, is_mine(m, &vm) ? "at its end" : "not this pod's");
		m->name_tries++;
		return STEP_AGAIN;
	}
	if (why.kind != ERROR_GONE)
		return error_move(err, &why);
	/* Gone meanwhile, or it is the disk that was left. */
	int removed = disk_delete_leftover(m->p, project, m->zone, m->name, m->in.request->token,
		bound, err);
	if (removed < 0)
		return STEP_FAILED;
	m->name_tries += !removed;
	return STEP_NEXT_ID;
}

static int insert_send(struct making *m, unsigned count, struct operation *op, int64_t *date,
	const struct bound *bound, struct error *err)
{
	cleanup_json *body = NULL, *reply = NULL;
	cleanup(buf_free) struct buf path = BUF_INIT;
	char uuid[UUID_SIZE], number[16];
	const struct offering *o = m->in.offering;
	snprintf(number, sizeof(number), "%u", count);
	const char *const words[] = {"insert", m->in.request->token, o->zone, o->type,
		o->spot ? "spot" : "", m->name, number, NULL};
	if (request_uuid(words, uuid, err) < 0 || insert_body(&m->in, &body, err) < 0)
		return -1;
	char *text = json_dumps(body, JSON_COMPACT);
	buf_printf(&path, "projects/%s/zones/%s/instances?requestId=%s", m->at.project, o->zone,
		uuid);
	if (!text || path.failed) {
		free(text);
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	const struct compute_call call = {.what = "instances.insert",
		.class = COMPUTE_CREATE,
		.method = "POST",
		.path = buf_text(&path),
		.body = text,
		.body_len = strlen(text)};
	int result = compute_call(m->p->compute, &call, &reply, date, bound, err);
	explicit_bzero(text, call.body_len);
	free(text);
	if (result < 0)
		return error_append(err, " (request %s)", uuid);
	return operation_read(reply, op, err);
}

/* What an operation's failure means to a creation. */
static void creation_kind(struct error *why)
{
	/* An image, a network or a type that is not there. */
	if (why->kind == ERROR_GONE)
		why->kind = ERROR_INVALID;
}

/* Why an instance that is there will not run. */
static int ended_early(const struct making *m, const struct vm *vm, struct error *err)
{
	return error_set(err, m->in.offering->spot ? ERROR_CAPACITY : ERROR_RETRY,
		"instance %s is %s before it ran%s%s", vm->name, vm->status,
		vm->status_message ? ": " : "", vm->status_message ? vm->status_message : "");
}

/* Until there is a host for it, or there is not. */
static enum step watch(struct making *m, struct operation *op, const struct bound *bound,
	struct error *err)
{
	for (unsigned looks = 0;; looks++) {
		cleanup_vm vm = {0};
		cleanup_error why = ERROR_INIT;
		bool was_done = op->done;
		bool found = describe(m->p->near_name, m->name, &vm, bound, &why) == 0;
		if (!found && why.kind != ERROR_GONE)
			return error_move(err, &why);
		error_clear(&why);
		found = found && is_mine(m, &vm) && !strcmp(vm.zone, m->zone);
		if (found && !vm_is_dead(&vm) && (was_done || vm_is_placed(&vm))) {
			m->vm = vm;
			vm = (struct vm){0};
			return STEP_MADE;
		}
		if (!was_done) {
			struct operation now = {0};
			if (operation_look(m->p->operations, m->at.project, op, &now, bound,
				    &why) == 0) {
				operation_free(op);
				*op = now;
			} else if (why.kind != ERROR_GONE) {
				return error_move(err, &why);
			}
		}
		if (op->err.kind != ERROR_NONE)
			return error_move(err, &op->err);
		if (found && vm_is_dead(&vm))
			return ended_early(m, &vm, err);
		/* It was made, and there was a look after that: it has been deleted since. */
		if (was_done)
			return STEP_NEXT_ID;
		if (op->done)
			continue;
		if (bound_sleep(bound, poll_pause_ns(looks), "wait for a host", err) < 0)
			return STEP_FAILED;
	}
}

/* One insert, until its fate is known. */
static enum step insert_once(struct making *m, unsigned count, const struct bound *bound,
	struct error *err)
{
	cleanup_operation op = {0};
	cleanup_error why = ERROR_INIT;
	int64_t date = 0;
	instance_name(m->in.request->name, m->in.request->token, m->name_tries, m->name);
	m->in.name = m->name;
	snprintf(m->zone, sizeof(m->zone), "%s", m->in.offering->zone);
	if (insert_send(m, count, &op, &date, bound, &why) < 0) {
		/* An answer that refuses is no doubt; one that never came is. */
		m->sent = (why.kind == ERROR_RETRY || why.kind == ERROR_TIMEOUT ||
				  why.kind == ERROR_CANCELED) &&
			  (!why.status || why.status >= 500);
		if (why.kind == ERROR_EXISTS)
			return conflict(m, bound, err);
		creation_kind(&why);
		return error_move(err, &why);
	}
	m->sent = true;
	bool of_before = op.done && date && op.inserted && date - op.inserted > REPLAY_S;
	if (of_before && op.err.kind != ERROR_NONE) {
		m->sent = false;
		return STEP_NEXT_ID;
	}
	enum step step = watch(m, &op, bound, &why);
	if (step != STEP_FAILED)
		return step;
	if (op.done) {
		/* The operation has undone what it did; a disk of it may be left. */
		cleanup_error ignored = ERROR_INIT;
		m->sent = false;
		if (disk_delete_leftover(m->p, m->at.project, m->zone, m->name,
			    m->in.request->token, bound, &ignored) < 0)
			error_append(&why, " (disk %s may be left: %s)", m->name,
				error_message(&ignored));
	}
	if (why.kind == ERROR_EXISTS)
		return conflict(m, bound, err);
	creation_kind(&why);
	return error_move(err, &why);
}

static int make_offering(void *with, const struct offering *offering, const struct bound *bound,
	struct error *err)
{
	struct making *m = with;
	struct attempt attempt = {.who = "gcp", .faults_max = FAULTS_MAX};
	unsigned count = 0;
	m->in.offering = offering;
	for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
		cleanup_error why = ERROR_INIT;
		switch (insert_once(m, count, bound, &why)) {
		case STEP_MADE:
			return 0;
		case STEP_AGAIN:
			continue;
		case STEP_NEXT_ID:
			count++;
			continue;
		case STEP_FAILED:
			break;
		}
		/* What the cloud itself undid may be asked for again, as another request. */
		if (!m->sent && why.kind == ERROR_RETRY &&
			attempt_again(&attempt, 0, bound, &why)) {
			count++;
			continue;
		}
		m->subnetwork_is_full = failure_is_full_subnetwork(&why);
		/* The next offering may find the same one. */
		if (m->subnetwork_is_full)
			why.kind = ERROR_INTERNAL;
		return error_move(err, &why);
	}
	return error_set(err, ERROR_INTERNAL,
		"the first %d names or requests of this pod are used up in zone %s", TRIES_MAX,
		offering->zone);
}

/* ---- the whole --------------------------------------------------------------------------------------------- */

/* The zones in which the pod's volumes can be attached; *out is new, with the configured ones' strings. */
static int volume_zones(struct provider *p, const struct instance_request *r,
	const struct location *at, char ***out, const struct bound *bound, struct error *err)
{
	cleanup(free_ptr) char **zones = calloc(list_count(at->zones) + 1, sizeof(char *));
	char zone[ZONE_SIZE] = "";
	size_t count = 0;
	if (!zones)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	for (size_t i = 0; i < r->volume_count; i++) {
		char own[ZONE_SIZE];
		if (!path_part(r->volumes[i].id, "zones", own, sizeof(own)))
			continue;
		if (*zone && strcmp(zone, own) != 0)
			return error_set(err, ERROR_INVALID,
				"volume %s is in zone %s, another one of the pod in zone %s",
				r->volumes[i].id, own, zone);
		snprintf(zone, sizeof(zone), "%s", own);
	}
	for (char *const *z = at->zones; *z; z++) {
		if (!*zone || !strcmp(zone, *z))
			zones[count++] = *z;
	}
	if (!count)
		return error_set(err, ERROR_INVALID,
			"the volumes are in zone %s, which is not among those of GCP_ZONE", zone);
	for (size_t i = 0; i < r->volume_count; i++) {
		cleanup(free_ptr) char *path = disk_path(at->project, zones[0], r->volumes[i].id);
		cleanup_json *reply = NULL;
		if (!path)
			return error_set(err, ERROR_CAPACITY, "out of memory");
		/* A name alone may be in any zone: the insert will tell. */
		if (!strchr(r->volumes[i].id, '/') && count > 1)
			continue;
		if (compute_get(p->compute,
			    strstr(path, "/regions/") ? "regionDisks.get" : "disks.get", path,
			    &reply, bound, err) < 0) {
			if (err && err->kind == ERROR_GONE)
				err->kind = ERROR_INVALID;
			return error_prefix(err, "volume %s", r->volumes[i].id);
		}
		const json_t *user = json_array_get(json_object_get(reply, "users"), 0);
		if (json_is_string(user))
			return error_set(err, ERROR_INVALID,
				"volume %s is attached to instance %s already", r->volumes[i].id,
				path_last(json_string_value(user)));
	}
	*out = take_ptr(zones);
	return 0;
}

/* Leaves of the ranking what comes after this offering and is in another region. */
static void leave_region(struct choice *choice, const struct offering *left)
{
	bool after = false;
	size_t kept = 0;
	for (size_t i = 0; i < choice->fits; i++) {
		const struct offering *o = choice->ranked[i].offering;
		if (after && !zone_same_region(left->zone, o->zone))
			choice->ranked[kept++] = choice->ranked[i];
		after |= o == left;
	}
	choice->fits = kept;
}

static int try_offerings(struct making *m, struct choice *choice, const struct bound *bound,
	struct error *err)
{
	while (choice_try("gcp", choice, m->p->refusals, make_offering, m, bound, err) < 0) {
		if (!m->subnetwork_is_full)
			return -1;
		err->kind = ERROR_CAPACITY;
		leave_region(choice, m->in.offering);
		if (!choice->fits)
			return -1;
		log_warn("gcp: %s; another region is tried", error_message(err));
		m->subnetwork_is_full = false;
		error_clear(err);
	}
	return 0;
}

static int make(struct making *m, const struct bound *bound, struct error *err)
{
	struct provider *p = m->p;
	const struct instance_request *r = m->in.request;
	const char *asked = *r->image ? r->image : p->options->image;
	cleanup(ranking_free) struct ranking ranking = {0};
	cleanup(free_ptr) char *path = image_path(m->at.project, asked, err);
	cleanup(free_ptr) char **zones = NULL;
	cleanup_image image = {0};
	cleanup_json *tags = NULL;
	if (!path || image_look(p->images, path, &image, bound, err) < 0 ||
		image_check(&image, m->in.tee, err) < 0 ||
		tags_resolve(p->tags, m->at.project, &tags, bound, err) < 0 ||
		volume_zones(p, r, &m->at, &zones, bound, err) < 0 ||
		ranking_make(p, r, &m->at, &image, m->in.tee, zones, &ranking, bound, err) < 0)
		return -1;
	m->in.image = &image;
	m->in.tags = tags;
	choice_log("gcp", &ranking.choice);
	return try_offerings(m, &ranking.choice, bound, err);
}

/* After a failure: what was made, or may have been, goes. Adds to the message what could not be reached. */
static void undo(struct making *m, struct error *err)
{
	struct bound bound = {.deadline_ns = deadline_in(UNDO_NS)};
	if (!m->sent)
		return;
	for (unsigned looks = 0; looks < UNDO_LOOKS; looks++) {
		cleanup_vm vm = {0};
		cleanup_error why = ERROR_INIT;
		bool accepted = false;
		if (vm_get(m->p, m->at.project, m->zone, m->name, &vm, &bound, &why) == 0) {
			if (!is_mine(m, &vm))
				return;
			error_clear(&why);
			if (vm_delete(m->p, m->at.project, m->zone, m->name, &accepted, &bound,
				    &why) < 0 &&
				!accepted)
				error_append(err, " (instance %s in zone %s is left behind: %s)",
					m->name, m->zone, error_message(&why));
			return;
		}
		if (why.kind != ERROR_GONE ||
			bound_sleep(&bound, poll_pause_ns(looks), "look again", NULL) < 0)
			break;
	}
	error_append(err,
		" (whether an instance was made is not known; if so, it is %s in zone %s and has the label " LABEL_TOKEN
		"=%s)",
		m->name, m->zone, m->in.request->token);
}

/* The token's instance, if it is there and has a host or gets one; 1 found, 0 there is none, -1. */
static int find_made(struct making *m, const struct bound *bound, struct error *err)
{
	for (unsigned looks = 0;; looks++) {
		cleanup_vm vm = {0};
		cleanup_error why = ERROR_INIT;
		if (describe(m->p->near_token, m->in.request->token, &vm, bound, &why) < 0) {
			m->sent &= why.kind != ERROR_GONE;
			return why.kind == ERROR_GONE ? 0 : error_move(err, &why);
		}
		m->sent = true;
		snprintf(m->name, sizeof(m->name), "%s", vm.name);
		snprintf(m->zone, sizeof(m->zone), "%s", vm.zone);
		if (vm_is_placed(&vm)) {
			m->vm = vm;
			vm = (struct vm){0};
			return 1;
		}
		/* One that has ended makes room for another. */
		if (vm_is_dead(&vm)) {
			if (vm_delete(m->p, m->at.project, vm.zone, vm.name, NULL, bound, err) < 0)
				return -1;
			m->sent = false;
			return 0;
		}
		if (bound_sleep(bound, poll_pause_ns(looks), "wait for a host", err) < 0)
			return -1;
	}
}

int driver_create(struct provider *p, const struct instance_request *r, struct instance *instance,
	const struct bound *bound, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	struct making m = {.p = p,
		.in = {.options = p->options,
			.request = r,
			.tee = r->tee == TEE_DEFAULT ? gcp_options_tee(p->options) : r->tee}};
	m.in.at = &m.at;
	if (insert_check(p->options, r, err) < 0 || place_find(p->place, &m.at, bound, err) < 0)
		return -1;
	int result = find_made(&m, bound, &why);
	if (result == 0)
		result = make(&m, bound, &why);
	else if (result > 0)
		result = 0;
	if (result == 0 && m.vm.tee != m.in.tee)
		result = error_set(&why, ERROR_UNSUPPORTED,
			"instance %s was made with %s instead of %s, so it is not used", m.vm.name,
			m.vm.tee == TEE_NONE ? "no protection" : family_tee_name(m.vm.tee),
			m.in.tee == TEE_NONE ? "none" : family_tee_name(m.in.tee));
	if (result < 0) {
		undo(&m, &why);
		vm_free(&m.vm);
		return error_move(err, &why);
	}
	result = vm_give(&m.vm, p->options->use_public_ip, instance, err);
	vm_free(&m.vm);
	return result;
}
