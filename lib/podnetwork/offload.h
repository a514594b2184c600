/* SPDX-License-Identifier: Apache-2.0 */
/*
 * offload.h - what a device leaves to the hardware below it
 *
 * Some virtual NICs spoil the checksums of packets inside a VXLAN that they are asked to complete.
 */
#ifndef PEERPOD_PODNETWORK_OFFLOAD_H
#define PEERPOD_PODNETWORK_OFFLOAD_H

#include "base/error.h"

/* Checksums of what this device sends are completed by the kernel. netns_fd -1: our own. */
int offload_switch_off_checksums(int netns_fd, const char *name, struct error *err);

#endif
