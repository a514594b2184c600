/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - what a domain's metadata says about whose it is and what was made for it
 *
 * One element in a namespace of ours, kept by libvirt with the definition, so that any process finds everything
 * again: <pp:podvm xmlns:pp='urn:peerpod:libvirt:1' cluster= node= namespace= pod= sandbox= token= pool=
 * created= volumes='name name' data='id id'/>. It is read back from the daemon with limits: others can write there.
 */
#ifndef PEERPOD_LIBVIRT_RECORD_H
#define PEERPOD_LIBVIRT_RECORD_H

#include <stdint.h>
#include "base/error.h"
#include "providers/libvirt/xml.h"

#define RECORD_NAMESPACE "urn:peerpod:libvirt:1"
#define RECORD_VOLUMES_MAX 8

struct record {
	char *cluster, *node, *pod_namespace, *pod, *sandbox, *token; /* never NULL once read */
	char *pool;                        /* likewise; "": as configured */
	int64_t created;                   /* Unix time */
	char *volumes[RECORD_VOLUMES_MAX]; /* names in that pool that go with the domain */
	size_t volume_count;
};

/*
 * Adds <metadata> with the record to <domain>. data: ids of disks that outlive the domain, for people to see;
 * may be NULL. ERROR_INVALID where a value cannot stand in XML.
 */
int record_write(xmlNode *domain, const struct record *record, const char *data, struct error *err);

/* The element alone, as virDomainGetMetadata returns it, or a whole domain that contains it. */
int record_read(const char *what, const char *text, struct record *record, struct error *err);

void record_free(struct record *record);

/* "2026-01-01T00:00:00Z", both ways; -1 for what is no such time. */
void time_text(int64_t seconds, char text[32]);
int64_t time_parse(const char *text);

#endif
