/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - all there is to know about one sandbox, in memory and as JSON
 *
 * A record holds what another adaptor needs to adopt the sandbox or to take it down. It contains the
 * tunnel's private keys and, until the instance's id is known, the user data: mode 0600 wherever its
 * text lands, and never in a log.
 */
#ifndef PEERPOD_ADAPTOR_RECORD_H
#define PEERPOD_ADAPTOR_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include "adaptor/state.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/secret.h"
#include "podnetwork/podnetwork.h"

/* Raised when a record of today could not be read by the program of yesterday. */
#define RECORD_VERSION 1
/* Initdata of 512 KiB in user data, escaped as JSON, and room. */
#define RECORD_SIZE_MAX ((size_t)4 * 1024 * 1024)

/* How agent-proxy reaches the forwarder; fixed at CreateVM, as the VM's half is. */
struct tunnel {
	bool tls;
	int64_t port;
	char *server_name;
	char *ca_pem;
	char *client_cert_pem;
	struct secret client_key_pem;
	char *pinned_cert_pem; /* "" with certificates of the operator's */
	char *min_version;
	char **cipher_suites; /* NULL-terminated or NULL */
};

/* Strings owned; NULL until set, never NULL in what was read. */
struct record {
	char *sandbox;
	char *pod, *pod_namespace, *pod_uid;
	enum sandbox_state state;
	enum start_stage stage;
	char *failure;      /* why the start failed; "" */
	int64_t created_at; /* Unix seconds */
	int64_t changed_at;

	char *netns_path;
	int64_t netns_device, netns_inode; /* of the pod's netns when it was inspected */
	char *agent_socket;
	bool has_network;
	int64_t vm_underlay_mtu; /* of the way from the VM to here; 0: not known */
	struct podnetwork network;
	struct tunnel tunnel;

	/* the instance: as asked for ... */
	char *token;
	char *instance_name;
	char *instance_type, *image;
	int64_t vcpus, memory_mib, gpus;
	int64_t tee, market; /* enum instance_tee, enum instance_market */
	bool second_nic;
	char *initdata_digest;   /* lower-case hex, or "" */
	struct secret user_data; /* empty once the instance's id is known */
	/* ... and as it is */
	char *instance_id;
	char **addresses; /* NULL-terminated or NULL */
};

/* Appends the JSON; buf_wipe the buffer. */
int record_write(const struct record *record, struct buf *out, struct error *err);

/*
 * Strict: another version, missing members, wrong types and values out of range are ERROR_INVALID and
 * name the member. `name` is for messages. On failure nothing is left to free.
 */
int record_read(const char *name, const void *text, size_t len, struct record *record,
	struct error *err);

void record_free(struct record *record);

/* Copies of a NULL-terminated list of strings (NULL stays NULL). false: no memory. */
bool strings_copy(char *const *from, char ***to);
void strings_free(char **list);

#endif
