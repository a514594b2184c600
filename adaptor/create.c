/* SPDX-License-Identifier: Apache-2.0 */
/*
 * create.c - CreateVM
 *
 * Quick, and nothing in the cloud: neither shim can be counted on to call StopVM when its own work
 * between CreateVM and StartVM fails. What it leaves is a reservation in the pod's own network
 * namespace, which dies with that, a folder, and a record; the housekeeper removes them when no
 * StartVM follows.
 *
 * Steps: check the request; inspect the pod's netns (which reserves the tunnel's number); make the
 * certificates and the user data; make the folder of the agent socket; write the record.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "adaptor/adaptor.h"
#include "adaptor/userdata.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"

/* gcc 12's analyzer loses sight of what is kept through an index; LeakSanitizer does not. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

#define AGENT_SOCKET_NAME "agent.ttrpc"
/* The terminating NUL counts: 107 characters fit. */
#define SOCKET_PATH_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)
/* Clouds and DNS labels: 63 characters. */
#define INSTANCE_NAME_MAX 63

static char *agent_socket_path(const struct adaptor *adaptor, const char *id, struct error *err)
{
	char *path = NULL;
	if (asprintf(&path, "%s/%s/" AGENT_SOCKET_NAME, adaptor->settings->pods_dir, id) < 0) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	if (strlen(path) <= SOCKET_PATH_MAX)
		return path;
	error_set(err, ERROR_INVALID,
		"path of the agent socket %s has %zu bytes, a Unix socket's may have %zu: use a shorter "
		"-pods-dir",
		path, strlen(path), SOCKET_PATH_MAX);
	free(path);
	return NULL;
}

static int check_netns(const char *path, struct record *record, struct error *err)
{
	struct stat st;
	if (!*path)
		return error_set(err, ERROR_INVALID,
			"networkNamespacePath is empty: a pod with hostNetwork cannot run in a pod VM (with "
			"runtime-rs, disable_new_netns must be false)");
	if (*path != '/' || strlen(path) >= 4096)
		return error_set(err, ERROR_INVALID,
			"networkNamespacePath \"%.200s\" is no absolute path", path);
	if (stat(path, &st) < 0)
		return error_set_errno(err, errno, "network namespace %s", path);
	record->netns_device = (int64_t)st.st_dev;
	record->netns_inode = (int64_t)st.st_ino;
	return 0;
}

/* Moves what the pod asks for into the record, and the rest of what is known from the start. */
static int fill_record(struct adaptor *adaptor, const char *id, const char *netns_path,
	struct pod_request *request, struct record *record, struct error *err)
{
	record->sandbox = strdup(id);
	record->netns_path = strdup(netns_path);
	record->failure = strdup("");
	record->instance_id = strdup("");
	record->pod = take_ptr(request->pod);
	record->pod_namespace = take_ptr(request->pod_namespace);
	record->pod_uid = take_ptr(request->pod_uid);
	record->instance_type = take_ptr(request->machine_type);
	record->tee = request->tee;
	record->market = request->market;
	record->image = take_ptr(request->image);
	record->vcpus = request->vcpus;
	record->memory_mib = request->memory_mib;
	record->gpus = request->gpus;
	record->created_at = (int64_t)time(NULL);
	record->state = SANDBOX_CREATED;
	record->stage = STAGE_NONE;
	record->tunnel.port = adaptor->settings->forwarder_port;
	if (!record->sandbox || !record->netns_path || !record->failure || !record->instance_id)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	record->agent_socket = agent_socket_path(adaptor, id, err);
	if (!record->agent_socket)
		return -1;
	record->token = sandbox_token(adaptor, id, err);
	if (!record->token)
		return -1;
	record->instance_name = tls_instance_name(record->pod, id, INSTANCE_NAME_MAX);
	return record->instance_name ? 0 : error_set(err, ERROR_CAPACITY, "out of memory");
}

static int inspect_network(struct adaptor *adaptor, struct record *record, struct error *err)
{
	uint32_t vnis[QUARANTINE_SIZE];
	struct podnetwork_worker_settings settings = sandbox_network_settings(adaptor, record);
	settings.quarantined = vnis;
	settings.quarantined_count = quarantine_list(&adaptor->quarantine, vnis);
	struct podnetwork network = {0};
	fault_before(FAULT_CREATE_INSPECT);
	if (adaptor->world->network->inspect(&settings, &network, err) < 0)
		return error_prefix(err, "pod network");
	fault_after(FAULT_CREATE_INSPECT);
	record->network = network;
	record->has_network = true;
	record->second_nic = network.dedicated || network.external_net_via_pod_vm;
	return 0;
}

/* The members that a tunnel without certificates of ours leaves out. */
static int fill_empty(struct record *record, struct apf *apf, struct error *err)
{
	char **const texts[] = {&record->tunnel.server_name, &record->tunnel.ca_pem,
		&record->tunnel.client_cert_pem, &record->tunnel.pinned_cert_pem,
		&record->tunnel.min_version, &apf->tls_server_cert, &apf->tls_client_ca,
		&apf->tls_min_version};
	for (size_t i = 0; i < array_size(texts); i++) {
		char *empty = *texts[i] ? NULL : strdup("");
		if (empty)
			*texts[i] = empty;
		if (!*texts[i])
			return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	return 0;
}

/* Certificates and user data. */
static int build_user_data(struct adaptor *adaptor, const char *initdata, struct record *record,
	struct error *err)
{
	struct apf apf = {.network = record->network,
		.has_network = true,
		.pod_namespace = record->pod_namespace,
		.pod_name = record->pod};
	int result = node_identity_issue(&adaptor->identity, adaptor->settings,
		record->instance_name, &record->tunnel, &apf, err);
	if (result == 0)
		result = fill_empty(record, &apf, err);
	if (result == 0)
		result =
			user_data_build(adaptor->settings, &apf, initdata, &record->user_data, err);
	if (result == 0)
		result = user_data_initdata_digest(adaptor->settings, initdata,
			&record->initdata_digest, err);
	/* These are the record's. */
	apf.network = (struct podnetwork){0};
	apf.has_network = false;
	apf.pod_namespace = apf.pod_name = NULL;
	apf_free(&apf);
	return result;
}

static int make_folder(struct adaptor *adaptor, const char *id, struct error *err)
{
	cleanup(free_ptr) char *folder = NULL;
	if (asprintf(&folder, "%s/%s", adaptor->settings->pods_dir, id) < 0) {
		folder = NULL;
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	/* Others may pass through, to the socket; only we may look. */
	if (dir_make(adaptor->settings->pods_dir, 0711, err) < 0)
		return -1;
	fault_before(FAULT_CREATE_FOLDER);
	if (dir_make(folder, 0700, err) < 0)
		return -1;
	fault_after(FAULT_CREATE_FOLDER);
	return 0;
}

/* The caller is the sandbox's owner, and it is in the table. */
static int create_owned(struct adaptor *adaptor, struct sandbox *sandbox, const char *initdata,
	struct error *err)
{
	struct record *record = &sandbox->record;
	if (inspect_network(adaptor, record, err) < 0)
		return -1;
	if (build_user_data(adaptor, initdata, record, err) < 0 ||
		make_folder(adaptor, record->sandbox, err) < 0)
		return -1;
	return journal_write(&adaptor->journal, record, FAULT_CREATE_RECORD, err);
}

static int create(struct adaptor *adaptor, const char *id, struct pod_request *request,
	const char *netns_path, char **agent_socket, struct error *err)
{
	cleanup(record_free) struct record record = {0};
	if (check_netns(netns_path, &record, err) < 0 ||
		fill_record(adaptor, id, netns_path, request, &record, err) < 0)
		return -1;
	struct sandbox *sandbox = sandbox_new(&record, err);
	if (!sandbox)
		return -1;
	pthread_mutex_lock(&sandbox->owner);
	int result = sandbox_add(&adaptor->table, sandbox, err);
	bool added = result == 0;
	if (added)
		result = create_owned(adaptor, sandbox, request->initdata, err);
	if (result == 0)
		*agent_socket = strdup(sandbox->record.agent_socket);
	if (result == 0 && !*agent_socket)
		result = error_set(err, ERROR_CAPACITY, "out of memory");
	if (result == 0)
		sandbox_set_created(&adaptor->table, sandbox);
	pthread_mutex_unlock(&sandbox->owner);
	if (result == 0)
		log_info(
			"created; vCPUs %lld, memory %lld MiB, type \"%s\", image \"%s\" (0 and \"\": default)",
			(long long)sandbox->record.vcpus, (long long)sandbox->record.memory_mib,
			sandbox->record.instance_type, sandbox->record.image);
	if (result < 0 && added) {
		/* A caller that tries again at once must not find what is being taken down. */
		struct bound bound = {.deadline_ns = deadline_in(10 * NS_PER_S),
			.cancel = adaptor->quit};
		unsigned failed = sandbox_reap(adaptor, sandbox, false);
		sandbox_wait_gone(adaptor, sandbox, failed, &bound, NULL);
	}
	sandbox_unref(&adaptor->table, sandbox);
	return result;
}

int sandbox_create(struct adaptor *adaptor, const char *id, const struct annotation *annotations,
	size_t count, const char *netns_path, char **agent_socket, struct error *err)
{
	/* For messages; the request's own names go into the record. */
	cleanup(pod_request_free) struct pod_request names = {0};
	cleanup(pod_request_free) struct pod_request request = {0};
	if (sandbox_id_check(id, err) < 0)
		return -1;
	bool named = annotations_read_names(annotations, count, &names, NULL) == 0;
	log_scope(((struct log_context){id, names.pod, names.pod_namespace}));
	if (annotations_read(annotations, count, &request, err) == 0 &&
		create(adaptor, id, &request, netns_path, agent_socket, err) == 0)
		return 0;
	if (named)
		error_prefix(err, "pod %s/%s", names.pod_namespace, names.pod);
	else
		error_prefix(err, "sandbox %s", id);
	log_warn("CreateVM: %s", error_message(err));
	return -1;
}
