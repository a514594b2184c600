/* SPDX-License-Identifier: Apache-2.0 */
/*
 * podns.h - the network namespace of the pod's containers
 */
#ifndef PEERPOD_INIT_PODNS_H
#define PEERPOD_INIT_PODNS_H

#include "base/error.h"

/*
 * Makes a network namespace whose loopback is up and binds it to path (/run/netns/podns), with the
 * folders above it. One that is there already is kept. Needs a mounted /proc.
 */
int podns_make(const char *path, struct error *err);

#endif
