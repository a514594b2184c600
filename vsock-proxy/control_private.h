/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control_private.h - shared by control.c (connections and calls) and control_open.c (what an Open asks)
 */
#ifndef PEERPOD_VSOCK_CONTROL_PRIVATE_H
#define PEERPOD_VSOCK_CONTROL_PRIVATE_H

#include "proto/proxy.pb-c.h"
#include "vsock-proxy/control.h"
#include "vsock-proxy/tunnel.h"

/*
 * Checks the request and makes settings of it; strings stay the request's, settings->tls is a new
 * reference. ERROR_INVALID names the field.
 */
int open_settings(const Agentproxy__OpenRequest *request, struct tunnel_settings *settings,
	struct error *err);

#endif
