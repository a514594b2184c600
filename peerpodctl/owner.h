/* SPDX-License-Identifier: Apache-2.0 */
/*
 * owner.h - whose instances are looked at: this cluster's, this node's
 */
#ifndef PEERPODCTL_OWNER_H
#define PEERPODCTL_OWNER_H

#include "peerpodctl/verb.h"

/* Fills in the node's name where the options leave it out, and the cluster's as far as it is known here. */
int owner_complete(struct values *values, struct error *err);

/* An error where the cluster's name is not known. */
int owner_cluster_known(struct invocation *in, struct error *err);

#endif
