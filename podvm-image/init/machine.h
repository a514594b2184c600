/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.h - what only a VM's first process does: from the kernel's initial ramfs to a usable machine
 */
#ifndef PEERPOD_INIT_MACHINE_H
#define PEERPOD_INIT_MACHINE_H

#include "pod.h"
#include "settings.h"

/*
 * File systems, the modules for network and media, an address (by DHCP it comes later, in the background),
 * and the user data at /media/cidata/user-data. Where no medium has it, waits for the network instead: then it
 * must come from there.
 */
int machine_start(struct pod *pod, const struct settings *settings, struct error *err);

/* What the pod needs but its user data does not: the other modules, the scratch disk. */
int machine_finish(const struct settings *settings, struct error *err);

/* Kills what still runs and powers off. Does not return. */
void machine_end(void) __attribute__((noreturn));

#endif
