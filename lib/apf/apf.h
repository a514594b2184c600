/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apf.h - apf.json, the configuration that travels in user data to the agent-protocol-forwarder
 */
#ifndef PEERPOD_APF_H
#define PEERPOD_APF_H

#include "base/buf.h"
#include "base/error.h"
#include "base/secret.h"
#include "podnetwork/podnetwork.h"

#define APF_PATH "/run/peerpod/apf.json"
#define APF_SIZE_MAX 262144 /* 256 KiB */

struct apf {
	struct podnetwork network;
	bool has_network;
	char *pod_namespace, *pod_name;        /* owned, never NULL after reading */
	struct secret tls_server_key;          /* PEM */
	char *tls_server_cert, *tls_client_ca; /* PEM, "" where absent */
	char *tls_min_version;
	char **tls_cipher_suites; /* NULL-terminated or NULL */
};

/* Appends the JSON (indent 4). The buffer holds the private key: buf_wipe it. */
int apf_write(const struct apf *apf, struct buf *out, struct error *err);
/* Unknown keys are ignored, null leaves the default, bytes after the value are ignored, as Go does. */
int apf_read(const void *text, size_t len, struct apf *apf, struct error *err);
void apf_free(struct apf *apf);

#endif
