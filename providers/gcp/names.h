/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.h - how things are called: resources by path, instances by the pod, labels by their owner
 *
 * Paths are relative to the API's base ("projects/P/global/images/N"); whole URLs of the API are cut down to that.
 */
#ifndef PEERPOD_GCP_NAMES_H
#define PEERPOD_GCP_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include "base/error.h"

#define LABEL_PREFIX "peerpod-"
#define LABEL_TOKEN LABEL_PREFIX "token" /* what carries it is ours */
#define LABEL_CLUSTER LABEL_PREFIX "cluster"
#define LABEL_NODE LABEL_PREFIX "node"
#define LABEL_NAMESPACE LABEL_PREFIX "namespace"
#define LABEL_POD LABEL_PREFIX "pod"
#define LABEL_SANDBOX LABEL_PREFIX "sandbox"

#define NAME_MAX_LEN 63
#define NAME_SIZE (NAME_MAX_LEN + 1)
#define ZONE_SIZE NAME_SIZE
#define UUID_SIZE 37

/* [a-z]([-a-z0-9]*[a-z0-9])?, at most 63: instances, zones, machine types, network tags. */
bool name_is_plain(const char *text);
bool project_is_plain(const char *text); /* also "example.com:project" */
bool path_is_plain(const char *text);    /* nothing that would not fit into a URL as it is */

/* A new string; NULL: no memory. */
char *path_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool host_is_plain(const char *text); /* a domain */

/* what: the option, for the message. */
int zone_check(const char *what, const char *zone, struct error *err);
/* "us-central1" of "us-central1-a". */
void zone_region(const char *zone, char region[ZONE_SIZE]);
bool zone_same_region(const char *zone, const char *other);

/*
 * All give new strings, NULL for no memory. image_path also refuses (ERROR_INVALID) what is neither an image nor a
 * family.
 */
char *image_path(const char *project, const char *image, struct error *err);
char *subnetwork_path(const char *project, const char *zone, const char *subnetwork);
char *network_path(const char *network);
/* A disk by name (in the given zone), by zones/Z/disks/D, or by its whole path. */
char *disk_path(const char *project, const char *zone, const char *disk);

/* The part after "projects/", "zones/" ... of a path or URL, into out (cut to size); false: there is none. */
bool path_part(const char *path, const char *collection, char *out, size_t size);
/* What follows the last slash. */
const char *path_last(const char *path);

/*
 * The n-th name to try for an instance: the wished one as GCP takes it; from n = 1 with a tail made of token and n, for
 * when somebody else has that name.
 */
void instance_name(const char *wished, const char *token, unsigned n, char out[NAME_SIZE]);

/* As a label takes it; a text that had to be changed keeps what tells it from others (a short hash). */
void label_value(const char *text, char out[NAME_SIZE]);

/* A UUID that is always the same for the same words (NULL-terminated): RFC 9562's version 8. */
int request_uuid(const char *const *words, char out[UUID_SIZE], struct error *err);

#endif
