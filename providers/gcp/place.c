/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.c - see place.h
 *
 * The lock is taken by polling, so that a caller who is cancelled does not wait for another's request.
 */
#include "providers/gcp/place.h"

#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "providers/gcp/names.h"

#define LOCK_STEP_NS (10 * NS_PER_MS)

struct place {
	const struct gcp_options *options;
	const struct gcp_credentials *credentials;
	struct metadata *metadata;
	pthread_mutex_t lock;
	bool known;
	char *project, *network;
	char **zones;
};

struct place *place_new(const struct gcp_options *options,
	const struct gcp_credentials *credentials, struct metadata *metadata)
{
	struct place *place = calloc(1, sizeof(*place));
	if (!place)
		return NULL;
	place->options = options;
	place->credentials = credentials;
	place->metadata = metadata;
	pthread_mutex_init(&place->lock, NULL);
	return place;
}

static void forget(struct place *place)
{
	free(take_ptr(place->project));
	free(take_ptr(place->network));
	list_free(take_ptr(place->zones));
}

void place_free(struct place *place)
{
	if (!place)
		return;
	forget(place);
	pthread_mutex_destroy(&place->lock);
	free(place);
}

int place_check(const struct gcp_options *o, const struct gcp_credentials *c, struct error *err)
{
	if (c->kind == CREDENTIALS_METADATA)
		return 0;
	if (!*o->project && !c->project)
		return error_set(err, ERROR_INVALID,
			"GCP_PROJECT_ID (-gcp-project-id) is not set, and the credentials name no project");
	if (!*o->project && !project_is_plain(c->project))
		return error_set(err, ERROR_INVALID,
			"the credentials: \"project_id\": \"%.100s\" is no project id", c->project);
	if (!*o->zone)
		return error_set(err, ERROR_INVALID,
			"GCP_ZONE (-zone) is not set: us-central1-a, or several, comma-separated");
	if (!*o->network && !*o->subnetwork)
		return error_set(err, ERROR_INVALID,
			"GCP_NETWORK (-network) is not set: global/networks/default, or set GCP_SUBNETWORK");
	return 0;
}

/* The text at path without the white space at its end; for "projects/1/zones/z" its last part, if wanted. */
static char *look_up(struct place *place, const char *path, bool last, const struct bound *bound,
	struct error *err)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	if (metadata_get(place->metadata, path, &text, bound, err) < 0)
		return NULL;
	while (text.len && isspace((unsigned char)text.data[text.len - 1]))
		text.data[--text.len] = '\0';
	const char *value = last ? path_last(buf_text(&text)) : buf_text(&text);
	if (!path_is_plain(value)) {
		error_set(err, ERROR_RETRY, "metadata server: %s is \"%.100s\"", path, value);
		return NULL;
	}
	char *copy = strdup(value);
	if (!copy)
		error_set(err, ERROR_CAPACITY, "out of memory");
	return copy;
}

/* A value that is set, else this instance's. NULL with an error that names the variable. */
static char *set_or_ours(struct place *place, const char *set, const char *variable,
	const char *path, bool last, const struct bound *bound, struct error *err)
{
	if (set && *set) {
		char *copy = strdup(set);
		if (!copy)
			error_set(err, ERROR_CAPACITY, "out of memory");
		return copy;
	}
	char *found = look_up(place, path, last, bound, err);
	if (found)
		log_info("gcp: %s is not set: %s, that of this instance", variable, found);
	else if (err && (err->kind == ERROR_RETRY || err->kind == ERROR_GONE))
		error_prefix(err, "%s is not set, and this machine does not tell its own",
			variable);
	return found;
}

static int find_all(struct place *place, const struct bound *bound, struct error *err)
{
	const struct gcp_options *o = place->options;
	cleanup(free_ptr) char *zone = NULL, *network = NULL;
	const char *project = *o->project ? o->project : place->credentials->project;
	place->project = set_or_ours(place, project, "GCP_PROJECT_ID", "project/project-id", false,
		bound, err);
	if (!place->project)
		return -1;
	zone = set_or_ours(place, o->zone, "GCP_ZONE", "instance/zone", true, bound, err);
	if (!zone)
		return -1;
	if (*o->network || !*o->subnetwork) {
		network = set_or_ours(place, o->network, "GCP_NETWORK",
			"instance/network-interfaces/0/network", false, bound, err);
		if (!network)
			return -1;
	}
	place->zones = list_split(zone);
	place->network = network ? network_path(network) : strdup("");
	if (!place->zones || !place->network)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	return 0;
}

int place_find(struct place *place, struct location *out, const struct bound *bound,
	struct error *err)
{
	while (pthread_mutex_trylock(&place->lock)) {
		if (bound_sleep(bound, LOCK_STEP_NS, "wait for the metadata server", err) < 0)
			return -1;
	}
	int result = place->known ? 0 : find_all(place, bound, err);
	if (result < 0)
		forget(place);
	else
		place->known = true;
	*out = (struct location){place->project, place->zones, place->network};
	pthread_mutex_unlock(&place->lock);
	return result;
}
