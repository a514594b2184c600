/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source.h - where this machine's user data are: on a medium, at a cloud's metadata service, or nowhere
 */
#ifndef PEERPOD_PROCESS_USER_DATA_SOURCE_H
#define PEERPOD_PROCESS_USER_DATA_SOURCE_H

#include <stdbool.h>
#include "base/bound.h"
#include "base/buf.h"
#include "base/error.h"

/* A file of the medium with label cidata, or of an SFTP upload. */
#define USER_DATA_FILE "/media/cidata/user-data"

/* What is known of the machine before anybody is asked. */
struct machine {
	bool has_file;       /* USER_DATA_FILE is there, or cannot be looked at */
	char hypervisor[13]; /* CPUID's vendor text, "" on other processors and bare metal */
	char vendor[65];     /* DMI system manufacturer */
	char product[65];    /* DMI product name */
	char asset_tag[65];  /* DMI chassis asset tag */
};

/* Reads them. root: folder to look in; CPUID is asked only where it is "/" . */
void machine_read(const char *root, struct machine *machine);

/* How to ask one cloud. */
struct cloud {
	const char *name;
	const char *endpoint;   /* scheme and host */
	const char *path;       /* of the user data */
	const char *header;     /* NULL: none */
	const char *token_path; /* NULL: needs no token */
	const char *probe_path; /* NULL: cannot be probed */
	bool base64;            /* the answer is base64 text */
};

/* What the user data come from; cloud is NULL for the file. */
struct source {
	const char *name;
	const struct cloud *cloud;
};

/* Asks whether the cloud's probe answers; context is the caller's. */
typedef bool source_probe(const struct cloud *cloud, void *context);

/* The first that fits, or NULL: somebody else (cloud-init) has written the files. May block in probe. */
const struct source *source_find(const struct machine *machine, source_probe *probe, void *context);

#endif
