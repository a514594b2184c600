/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules_forwarder.c - what the pod VM's end changes: what only the VM knows
 *
 * Field numbers are those of the agent's protocol.
 */
#include "vsock-proxy/rules.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "vsock-proxy/splice.h"

enum {
	CREATE_CONTAINER_ID = 1,
	CREATE_CONTAINER_OCI = 6,
	SPEC_MOUNTS = 5,
	SPEC_ANNOTATIONS = 7,
	SPEC_LINUX = 8,
	LINUX_NAMESPACES = 6,
	NAMESPACE_TYPE = 1,
	NAMESPACE_PATH = 2,
	MOUNT_SOURCE = 2,
	MOUNT_TYPE = 3,
	CREATE_SANDBOX_DNS = 2,
};

/* How the worker's end says that a container has volumes, and what of a value names none. */
static const struct {
	const char *annotation, *nothing;
} volumes[] = {
	/* a JSON object: its members are the volumes */
	{"io.confidentialcontainers.org.cloud_volumes", "{} \t\r\n"},
	/* a list with commas: upstream's worker end leaves elements empty */
	{"io.confidentialcontainers.org.peerpodvolumes.target_path", ", \t\r\n"},
};

static bool names_any(struct ttrpc_bytes value, const char *nothing)
{
	for (size_t i = 0; i < value.len; i++) {
		if (!memchr(nothing, value.data[i], strlen(nothing)))
			return true;
	}
	return false;
}

/* Volumes are not attached yet. A container without them would write into the VM's memory. */
static int refuse_volumes(const struct rule_settings *settings, struct buf *payload, bool *changed,
	struct error *err)
{
	(void)settings;
	(void)changed;
	const struct ttrpc_bytes request = {payload->data, payload->len};
	struct ttrpc_bytes spec, id, value;
	if (splice_child(request, CREATE_CONTAINER_OCI, &spec, err) < 0 ||
		splice_child(request, CREATE_CONTAINER_ID, &id, err) < 0)
		return -1;
	for (size_t i = 0; i < array_size(volumes); i++) {
		bool found;
		if (splice_map_get(spec, SPEC_ANNOTATIONS, volumes[i].annotation, &value, &found,
			    err) < 0)
			return -1;
		if (names_any(value, volumes[i].nothing))
			return error_set(err, ERROR_UNSUPPORTED,
				"container %.*s has volumes (annotation %s), and volumes are not "
				"attached yet: what it writes there would be lost; take them out of "
				"the pod",
				(int)(id.len < 80 ? id.len : 80), (const char *)id.data,
				volumes[i].annotation);
	}
	return 0;
}

/*
 * Containers join the pod's network namespace. The shim took its own entry away and nobody else adds
 * one, so it is appended without looking; policies expect the same path for all containers.
 */
static int add_network_namespace(const struct rule_settings *settings, struct buf *payload,
	bool *changed, struct error *err)
{
	cleanup(buf_free) struct buf namespace = BUF_INIT, field = BUF_INIT;
	splice_put_text(&namespace, NAMESPACE_TYPE, "network");
	splice_put_text(&namespace, NAMESPACE_PATH, settings->pod_netns);
	splice_put_bytes(&field, LINUX_NAMESPACES, namespace.data, namespace.len);
	*changed = true;
	return splice_append(payload, (const uint32_t[]){CREATE_CONTAINER_OCI, SPEC_LINUX}, 2,
		&field, err);
}

static void make_source(struct ttrpc_bytes source)
{
	/* A path longer than this cannot be opened; one with a NUL inside is not a path. */
	if (source.len == 0 || source.len >= 4096 || memchr(source.data, 0, source.len))
		return;
	char path[4096];
	memcpy(path, source.data, source.len);
	path[source.len] = 0;
	struct stat st;
	cleanup_error err = ERROR_INIT;
	if (path[0] != '/' || lstat(path, &st) == 0 || errno != ENOENT)
		return;
	if (dir_make(path, 0777, &err) < 0)
		log_warn("make missing mount source %s: %s", path, error_message(&err));
}

/* The agent resolves the sources of bind mounts before it mounts: they have to exist. */
static int make_bind_sources(const struct rule_settings *settings, struct buf *payload,
	bool *changed, struct error *err)
{
	(void)settings;
	(void)changed;
	struct ttrpc_bytes spec;
	if (splice_child((struct ttrpc_bytes){payload->data, payload->len}, CREATE_CONTAINER_OCI,
		    &spec, err) < 0)
		return -1;
	struct splice_field field;
	size_t at = 0;
	int more;
	while ((more = splice_next(spec, &at, &field, err)) > 0) {
		if (field.number != SPEC_MOUNTS)
			continue;
		struct ttrpc_bytes source, type;
		if (splice_child(field.value, MOUNT_SOURCE, &source, err) < 0 ||
			splice_child(field.value, MOUNT_TYPE, &type, err) < 0)
			return error_prefix(err, "mount");
		if (ttrpc_bytes_equal(type, "bind"))
			make_source(source);
	}
	return more;
}

/* The VM's own resolv.conf stays: the agent overwrites it only when it is given servers. */
static int drop_dns(const struct rule_settings *settings, struct buf *payload, bool *changed,
	struct error *err)
{
	(void)settings;
	size_t dropped;
	if (splice_drop(payload, CREATE_SANDBOX_DNS, &dropped, err) < 0)
		return -1;
	*changed = dropped != 0;
	return 0;
}

const struct rule forwarder_rules[] = {
	/* before bind-sources, which would make a folder for each */
	{"volumes", "grpc.AgentService", "CreateContainer", refuse_volumes},
	{"network-namespace", "grpc.AgentService", "CreateContainer", add_network_namespace},
	{"bind-sources", "grpc.AgentService", "CreateContainer", make_bind_sources},
	{"drop-dns", "grpc.AgentService", "CreateSandbox", drop_dns},
};
const size_t forwarder_rule_count = array_size(forwarder_rules);
