/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.c - see record.h
 *
 * The plain members are in one table, which writing, reading and freeing share; the network, the
 * tunnel's suites and the addresses are lists and objects of their own.
 */
#include "adaptor/record.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "providers/provider.h"

/* gcc 12's analyzer loses sight of what is kept through an index; LeakSanitizer does not. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

#define PATH_BYTES_MAX 4096
#define ADDRESSES_MAX 64

enum member_type { MEMBER_STRING, MEMBER_SECRET, MEMBER_INT, MEMBER_BOOL };

struct member {
	const char *key;
	size_t place;
	int64_t min, max; /* MEMBER_INT */
	enum member_type type;
	bool optional; /* records of older programs lack it */
};

#define MEMBER(key_, type_, member_, ...)                                                       \
	{                                                                                       \
		.key = key_, .type = MEMBER_##type_, .place = offsetof(struct record, member_), \
		__VA_ARGS__                                                                     \
	}

static const struct member members[] = {
	MEMBER("sandbox", STRING, sandbox),
	MEMBER("pod", STRING, pod),
	MEMBER("namespace", STRING, pod_namespace),
	MEMBER("uid", STRING, pod_uid),
	MEMBER("failure", STRING, failure),
	MEMBER("created-at", INT, created_at, 0, INT64_MAX),
	MEMBER("changed-at", INT, changed_at, 0, INT64_MAX),
	MEMBER("netns", STRING, netns_path),
	MEMBER("netns-device", INT, netns_device, 0, INT64_MAX),
	MEMBER("netns-inode", INT, netns_inode, 0, INT64_MAX),
	MEMBER("agent-socket", STRING, agent_socket),
	MEMBER("vm-underlay-mtu", INT, vm_underlay_mtu, 0, 65535, .optional = true),
	MEMBER("tunnel-tls", BOOL, tunnel.tls),
	MEMBER("tunnel-port", INT, tunnel.port, 1, 65535),
	MEMBER("tunnel-server-name", STRING, tunnel.server_name),
	MEMBER("tunnel-ca", STRING, tunnel.ca_pem),
	MEMBER("tunnel-client-cert", STRING, tunnel.client_cert_pem),
	MEMBER("tunnel-client-key", SECRET, tunnel.client_key_pem),
	MEMBER("tunnel-pinned-cert", STRING, tunnel.pinned_cert_pem),
	MEMBER("tunnel-min-version", STRING, tunnel.min_version),
	MEMBER("token", STRING, token),
	MEMBER("instance-name", STRING, instance_name),
	MEMBER("instance-type", STRING, instance_type),
	MEMBER("image", STRING, image),
	MEMBER("vcpus", INT, vcpus, 0, INT32_MAX),
	MEMBER("memory-mib", INT, memory_mib, 0, INT32_MAX),
	MEMBER("gpus", INT, gpus, 0, INT32_MAX),
	MEMBER("tee", INT, tee, TEE_DEFAULT, TEE_SEV, .optional = true),
	MEMBER("market", INT, market, MARKET_DEFAULT, MARKET_SPOT, .optional = true),
	MEMBER("second-nic", BOOL, second_nic),
	MEMBER("initdata-digest", STRING, initdata_digest),
	MEMBER("user-data", SECRET, user_data),
	MEMBER("instance-id", STRING, instance_id),
};

static void *place_of(const struct record *record, const struct member *member)
{
	return (char *)record + member->place;
}

bool strings_copy(char *const *from, char ***to)
{
	size_t count = 0;
	*to = NULL;
	if (!from)
		return true;
	while (from[count])
		count++;
	char **list = calloc(count + 1, sizeof(*list));
	for (size_t i = 0; list && i < count; i++) {
		list[i] = strdup(from[i]);
		if (!list[i]) {
			strings_free(list);
			return false;
		}
	}
	*to = list;
	return list != NULL;
}

void strings_free(char **list)
{
	for (char **item = list; item && *item; item++)
		free(*item);
	free(list);
}

static json_t *member_to_json(const struct record *record, const struct member *member)
{
	const void *place = place_of(record, member);
	switch (member->type) {
	case MEMBER_STRING: {
		const char *text = *(char *const *)place;
		return json_string(text ? text : "");
	}
	case MEMBER_SECRET:
		return json_string(secret_reveal(place));
	case MEMBER_INT:
		return json_integer(*(const int64_t *)place);
	case MEMBER_BOOL:
		return json_boolean(*(const bool *)place);
	}
	return NULL;
}

static json_t *strings_to_json(char *const *list)
{
	json_t *array = json_array();
	for (char *const *item = list; item && *item; item++)
		json_array_append_new(array, json_string(*item));
	return array;
}

static int append_dump(const char *bytes, size_t len, void *out)
{
	buf_append(out, bytes, len);
	return ((struct buf *)out)->failed ? -1 : 0;
}

int record_write(const struct record *record, struct buf *out, struct error *err)
{
	cleanup_json *object = json_object();
	int failed = json_object_set_new(object, "version", json_integer(RECORD_VERSION));
	failed |= json_object_set_new(object, "state",
		json_string(sandbox_state_name(record->state)));
	failed |=
		json_object_set_new(object, "stage", json_string(start_stage_name(record->stage)));
	for (size_t i = 0; i < array_size(members); i++) {
		if (json_object_set_new(object, members[i].key,
			    member_to_json(record, &members[i])) < 0)
			return error_set(err, ERROR_INVALID,
				"record of sandbox %s: \"%s\" is not UTF-8", record->sandbox,
				members[i].key);
	}
	failed |= json_object_set_new(object, "tunnel-cipher-suites",
		strings_to_json(record->tunnel.cipher_suites));
	failed |= json_object_set_new(object, "addresses", strings_to_json(record->addresses));
	if (record->has_network) {
		json_t *network = podnetwork_to_json(&record->network, err);
		if (!network)
			return error_prefix(err, "record of sandbox %s", record->sandbox);
		failed |= json_object_set_new(object, "network", network);
	}
	if (failed || json_dump_callback(object, append_dump, out, JSON_INDENT(1)) < 0 ||
		out->failed)
		return error_set(err, ERROR_CAPACITY, "record of sandbox %s: out of memory",
			record->sandbox);
	buf_append_text(out, "\n");
	return 0;
}

static int read_secret(const json_t *object, const char *name, const char *key,
	struct secret *secret, struct error *err)
{
	char *text = NULL;
	int result = json_read_string(object, name, key, JSON_REQUIRED, &text, err);
	if (result == 0 && !secret_set(secret, text, strlen(text)))
		result = error_set(err, ERROR_CAPACITY, "%s: out of memory", name);
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
	return result;
}

static int read_member(const json_t *object, const char *name, struct record *record,
	const struct member *member, struct error *err)
{
	void *place = place_of(record, member);
	switch (member->type) {
	case MEMBER_STRING:
		return json_read_string(object, name, member->key, JSON_REQUIRED, place, err);
	case MEMBER_SECRET:
		return read_secret(object, name, member->key, place, err);
	case MEMBER_INT:
		return json_read_int(object, name, member->key,
			member->optional ? JSON_OPTIONAL : JSON_REQUIRED, member->min, member->max,
			place, err);
	case MEMBER_BOOL:
		return json_read_bool(object, name, member->key, JSON_REQUIRED, place, err);
	}
	return error_set(err, ERROR_INTERNAL, "%s: member of an unknown type", name);
}

static int read_strings(const json_t *object, const char *name, const char *key, char ***out,
	struct error *err)
{
	const json_t *array = json_object_get(object, key);
	if (!json_is_array(array))
		return error_set(err, ERROR_INVALID, "%s: \"%s\" must be an array", name, key);
	size_t count = json_array_size(array);
	if (count > ADDRESSES_MAX)
		return error_set(err, ERROR_INVALID,
			"%s: \"%s\" has %zu items, more than the limit of %d", name, key, count,
			ADDRESSES_MAX);
	if (count == 0)
		return 0;
	*out = calloc(count + 1, sizeof(**out));
	for (size_t i = 0; *out && i < count; i++) {
		const json_t *item = json_array_get(array, i);
		if (!json_is_string(item) ||
			strlen(json_string_value(item)) != json_string_length(item))
			return error_set(err, ERROR_INVALID, "%s: \"%s\"[%zu] must be a string",
				name, key, i);
		(*out)[i] = strdup(json_string_value(item));
		if (!(*out)[i])
			return error_set(err, ERROR_CAPACITY, "%s: out of memory", name);
	}
	return *out ? 0 : error_set(err, ERROR_CAPACITY, "%s: out of memory", name);
}

static int read_state(const json_t *object, const char *name, struct record *record,
	struct error *err)
{
	cleanup(free_ptr) char *state = NULL;
	cleanup(free_ptr) char *stage = NULL;
	if (json_read_string(object, name, "state", JSON_REQUIRED, &state, err) < 0 ||
		json_read_string(object, name, "stage", JSON_REQUIRED, &stage, err) < 0)
		return -1;
	if (sandbox_state_parse(state, &record->state, err) < 0 ||
		start_stage_parse(stage, &record->stage, err) < 0)
		return error_prefix(err, "%s", name);
	return 0;
}

/* What the members say together. */
static int check_whole(const char *name, const struct record *record, struct error *err)
{
	if (!*record->sandbox || !*record->pod || !*record->token || !*record->agent_socket ||
		*record->agent_socket != '/')
		return error_set(err, ERROR_INVALID,
			"%s: \"sandbox\", \"pod\", \"token\" or \"agent-socket\" is empty", name);
	if (strlen(record->netns_path) > PATH_BYTES_MAX)
		return error_set(err, ERROR_INVALID, "%s: \"netns\" is longer than a path can be",
			name);
	if (record->stage >= STAGE_INSTANCE && !*record->instance_id)
		return error_set(err, ERROR_INVALID, "%s: stage \"%s\" without \"instance-id\"",
			name, start_stage_name(record->stage));
	if (record->stage >= STAGE_ADDRESSED && !record->addresses)
		return error_set(err, ERROR_INVALID, "%s: stage \"%s\" without \"addresses\"", name,
			start_stage_name(record->stage));
	if (record->state == SANDBOX_RUNNING && record->stage != STAGE_SERVED)
		return error_set(err, ERROR_INVALID, "%s: state \"running\" in stage \"%s\"", name,
			start_stage_name(record->stage));
	return 0;
}

static int read_whole(const json_t *object, const char *name, struct record *record,
	struct error *err)
{
	int64_t version;
	if (!json_is_object(object))
		return error_set(err, ERROR_INVALID, "%s: must be an object", name);
	if (json_read_int(object, name, "version", JSON_REQUIRED, RECORD_VERSION, RECORD_VERSION,
		    &version, err) < 0 ||
		read_state(object, name, record, err) < 0)
		return -1;
	for (size_t i = 0; i < array_size(members); i++) {
		if (read_member(object, name, record, &members[i], err) < 0)
			return -1;
	}
	if (read_strings(object, name, "tunnel-cipher-suites", &record->tunnel.cipher_suites, err) <
			0 ||
		read_strings(object, name, "addresses", &record->addresses, err) < 0)
		return -1;
	const json_t *network = json_object_get(object, "network");
	if (network) {
		record->has_network = true;
		if (podnetwork_from_json(network, &record->network, err) < 0)
			return error_prefix(err, "%s: \"network\"", name);
	}
	return check_whole(name, record, err);
}

int record_read(const char *name, const void *text, size_t len, struct record *record,
	struct error *err)
{
	*record = (struct record){0};
	cleanup_json *object = json_parse(name, text, len, RECORD_SIZE_MAX, false, err);
	if (!object)
		return -1;
	if (read_whole(object, name, record, err) == 0)
		return 0;
	record_free(record);
	return -1;
}

void record_free(struct record *record)
{
	for (size_t i = 0; i < array_size(members); i++) {
		void *place = place_of(record, &members[i]);
		if (members[i].type == MEMBER_STRING)
			free(*(char **)place);
		else if (members[i].type == MEMBER_SECRET)
			secret_free(place);
	}
	strings_free(record->tunnel.cipher_suites);
	strings_free(record->addresses);
	if (record->has_network)
		podnetwork_free(&record->network);
	*record = (struct record){0};
}
