/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity.h - who this node is towards pod VMs and the cloud
 *
 * The certificate authority of the node lives in <state-dir>/tls, mode 0600, and signs a server
 * certificate per pod VM. The client certificate is per pod VM, too: one VM learns nothing that opens
 * another's tunnel. With certificates of the operator's, those are used instead.
 */
#ifndef PEERPOD_ADAPTOR_IDENTITY_H
#define PEERPOD_ADAPTOR_IDENTITY_H

#include <pthread.h>
#include "adaptor/record.h"
#include "adaptor/settings.h"
#include "apf/apf.h"
#include "tls/tls.h"

struct node_identity {
	pthread_mutex_t lock;
	struct tls_ca *ca; /* NULL until the first certificate is needed */
	char *file;        /* <state-dir>/tls/ca.pem: certificate and key */
};

int node_identity_init(struct node_identity *identity, const char *state_dir, struct error *err);
void node_identity_free(struct node_identity *identity);

/*
 * Makes both ends of a tunnel: ours to *tunnel, the VM's into the TLS members of *apf. name is the
 * instance's, which the server's certificate holds.
 */
int node_identity_issue(struct node_identity *identity, const struct settings *settings,
	const char *name, struct tunnel *tunnel, struct apf *apf, struct error *err);

/*
 * The cluster's name as configured; else one made once and kept in <state-dir>/cluster, so that two
 * clusters without names never take each other's instances for their own. New string.
 */
char *node_cluster_name(const struct settings *settings, struct error *err);

#endif
