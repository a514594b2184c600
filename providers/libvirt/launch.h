/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.h - confidential VMs: which kind a request means, and whether the host can start it
 */
#ifndef PEERPOD_LIBVIRT_LAUNCH_H
#define PEERPOD_LIBVIRT_LAUNCH_H

#include "providers/libvirt/domain.h"
#include "providers/provider.h"

/*
 * Decides plan->launch and plan->launch_data. A confidential VM that the host cannot start is ERROR_INVALID, never
 * an ordinary VM instead.
 */
int launch_choose(struct domain_plan *plan, enum instance_tee tee, const unsigned char *digest,
	size_t digest_len, struct error *err);

#endif
