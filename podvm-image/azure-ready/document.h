/* SPDX-License-Identifier: Apache-2.0 */
/* document.h - the wireserver's XML documents: versions and goal state are read, the health report is written */
#ifndef PEERPOD_AZURE_READY_DOCUMENT_H
#define PEERPOD_AZURE_READY_DOCUMENT_H

#include <stddef.h>
#include "base/buf.h"
#include "base/error.h"

#define DOCUMENT_VALUE_MAX 256 /* bytes of a version or an id; Azure's have less than 80 */

/* What the host says, so printable ASCII and nothing else is known of it. */
struct document_value {
	char text[DOCUMENT_VALUE_MAX + 1];
};

struct goal_state {
	struct document_value incarnation, container_id, instance_id;
};

/* The version to speak: 2015-04-05 where it is offered, else the first that is. ERROR_INVALID: none can be read. */
int versions_read(const void *text, size_t len, struct document_value *version, struct error *err);

/* All three are there, of the first container and its first role instance. ERROR_INVALID: they are not. */
int goal_state_read(const void *text, size_t len, struct goal_state *state, struct error *err);

/* Appends the report that this instance is ready. ERROR_CAPACITY: no memory. */
int health_write(const struct goal_state *state, struct buf *out, struct error *err);

#endif
