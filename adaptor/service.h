/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service.h - the ttrpc services on the hypervisor socket: hypervisor.Hypervisor, podvminfo.PodVMInfo
 */
#ifndef PEERPOD_ADAPTOR_SERVICE_H
#define PEERPOD_ADAPTOR_SERVICE_H

#include "adaptor/adaptor.h"
#include "ttrpc/server.h"

#define SERVICE_COUNT 2

/* Fills the table for ttrpc_server_start; the methods' context is the adaptor. */
void services_init(struct ttrpc_service services[SERVICE_COUNT], struct adaptor *adaptor);

#endif
