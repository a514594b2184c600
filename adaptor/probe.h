/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h - /startup, /livez and /readyz over HTTP on 127.0.0.1, for the kubelet
 */
#ifndef PEERPOD_ADAPTOR_PROBE_H
#define PEERPOD_ADAPTOR_PROBE_H

#include "adaptor/adaptor.h"

struct probe;

/* Begins once the adaptor serves: that it answers at all is what /startup asks. */
struct probe *probe_start(uint16_t port, struct adaptor *adaptor, struct error *err);
void probe_stop(struct probe *probe);

#endif
