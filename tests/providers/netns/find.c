/* SPDX-License-Identifier: Apache-2.0 */
/* find.c - the netns driver's instances as others see them: by token, by id, in lists, with addresses and console */
#include "driver.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char *id_of(const char *token)
{
	char *id;
	return asprintf(&id, ID_PREFIX "%s", token) < 0 ? NULL : id;
}

int token_of(const char *id, const char **token, struct error *err)
{
	size_t prefix = strlen(ID_PREFIX);
	if (strncmp(id, ID_PREFIX, prefix))
		return error_set(err, ERROR_INVALID, "\"%.80s\" is not the id of a netns instance",
			id);
	*token = id + prefix;
	return state_check_token(*token, err);
}

int instance_fill(const char *token, const struct record *record, struct instance *instance,
	struct error *err)
{
	*instance = (struct instance){
		.id = id_of(token),
		.name = strdup(record->name),
		.sandbox = strdup(record->sandbox),
		.node = strdup(record->node),
		.cluster = strdup(record->cluster),
		.pod = strdup(record->pod),
		.pod_namespace = strdup(record->pod_namespace),
		.token = strdup(token),
		.created = record->created,
	};
	if (record->address_count) {
		instance->addresses = calloc(record->address_count + 1, sizeof(char *));
		for (size_t i = 0; instance->addresses && i < record->address_count; i++)
			instance->addresses[i] = strdup(record->addresses[i]);
	}
	if (instance->id && instance->name && instance->token)
		return 0;
	instance_free(instance);
	return error_set(err, ERROR_INTERNAL, "no memory");
}

char *driver_console_tail(struct provider *p, const char *id, size_t max, const struct bound *bound)
{
	(void)bound;
	const char *token = NULL;
	char path[PATH_MAX];
	if (token_of(id, &token, NULL) < 0)
		return strdup("");
	state_path(p->values->state_dir, token, "console.log", path, sizeof(path));
	cleanup(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
	off_t from = size > (off_t)max ? size - (off_t)max : 0;
	cleanup(free_ptr) char *text = calloc(1, max + 1);
	if (!text || fd < 0 || pread(fd, text, max, from) < 0)
		return strdup("");
	return take_ptr(text);
}

int driver_wait_addresses(struct provider *p, const char *id, size_t needed,
	struct instance *instance, const struct bound *bound, struct error *err)
{
	const char *token = NULL, *dir = p->values->state_dir;
	cleanup(record_free) struct record record = {0};
	if (trouble_due(&p->troubles, "addresses", err) < 0 || token_of(id, &token, err) < 0)
		return -1;
	if (p->values->address_delay_ns &&
		bound_sleep(bound, p->values->address_delay_ns, "NETNS_ADDRESS_DELAY", err) < 0)
		return -1;
	if (state_read(dir, token, &record, err) < 0)
		return -1;
	if (record.address_count < needed)
		return error_set(err, ERROR_INVALID,
			"instance %s has %zu addresses, %zu are needed", id, record.address_count,
			needed);
	if (!state_process(dir, token, NULL)) {
		cleanup(free_ptr) char *tail = driver_console_tail(p, id, 1024, bound);
		return error_set(err, ERROR_INTERNAL, "instance %s has ended; its console: %s", id,
			tail ? tail : "");
	}
	return instance_fill(token, &record, instance, err);
}

int driver_find(struct provider *p, const char *token, struct instance *instance,
	const struct bound *bound, struct error *err)
{
	(void)bound;
	cleanup(record_free) struct record record = {0};
	if (trouble_due(&p->troubles, "find", err) < 0 || state_check_token(token, err) < 0 ||
		state_read(p->values->state_dir, token, &record, err) < 0)
		return -1;
	return instance_fill(token, &record, instance, err);
}

struct listing {
	const struct provider *p;
	const char *cluster, *node;
	struct instance *instances;
	size_t count;
};

static int list_one(void *closure, const char *token, struct error *err)
{
	struct listing *l = closure;
	cleanup(record_free) struct record record = {0};
	cleanup_error failure = ERROR_INIT;
	if (state_read(l->p->values->state_dir, token, &record, &failure) < 0)
		return failure.kind == ERROR_GONE ? 0 : error_move(err, &failure);
	if ((*l->cluster && strcmp(l->cluster, record.cluster)) ||
		(*l->node && strcmp(l->node, record.node)))
		return 0;
	struct instance *more = realloc(l->instances, (l->count + 1) * sizeof(*more));
	if (!more)
		return error_set(err, ERROR_INTERNAL, "no memory");
	l->instances = more;
	if (instance_fill(token, &record, &l->instances[l->count], err) < 0)
		return -1;
	l->count++;
	return 0;
}

int driver_list(struct provider *p, const char *cluster, const char *node,
	struct instance **instances, size_t *count, const struct bound *bound, struct error *err)
{
	(void)bound;
	if (trouble_due(&p->troubles, "list", err) < 0)
		return -1;
	struct listing l = {.p = p, .cluster = cluster, .node = node};
	if (state_each(p->values->state_dir, list_one, &l, err) < 0) {
		instances_free(l.instances, l.count);
		return -1;
	}
	*instances = l.instances;
	*count = l.count;
	return 0;
}
