/* SPDX-License-Identifier: Apache-2.0 */
/* exchange.h - the three requests that tell Azure's wireserver that this VM is ready */
#ifndef PEERPOD_AZURE_READY_EXCHANGE_H
#define PEERPOD_AZURE_READY_EXCHANGE_H

#include <stdint.h>
#include "base/error.h"

/* endpoint: "http://host"; timeout_ns: of each request. Blocks. Nothing is tried twice. */
int report_ready(const char *endpoint, uint64_t timeout_ns, struct error *err);

#endif
