/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider.c - the door of the GCP driver: the table that the loader reads
 *
 * Opening checks the options and the credentials' form and asks nothing of anybody: an adaptor starts, and serves what
 * runs, also while Google cannot be reached.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "providers/gcp/driver.h"
#include "providers/gcp/family.h"

void driver_close(struct provider *p)
{
	if (!p)
		return;
	describer_free(p->near_name);
	describer_free(p->near_token);
	describer_free(p->far_name);
	describer_free(p->far_token);
	operation_watch_free(p->operations);
	catalogue_free(p->catalogue);
	if (p->prices)
		prices_free(p->prices);
	if (p->refusals)
		choice_memory_free(p->refusals);
	tags_free(p->tags);
	images_free(p->images);
	place_free(p->place);
	compute_free(p->compute);
	credentials_free(&p->credentials);
	free(p);
}

static bool parts_make(struct provider *p, const struct gcp_options *o)
{
	p->place = place_new(o, &p->credentials, compute_metadata(p->compute));
	p->images = images_new(p->compute);
	p->tags = tags_new(p->compute, o->tags);
	p->catalogue = catalogue_new(p->compute, p->prices, o->catalogue_folder);
	p->refusals = choice_memory_new(zone_same_region);
	p->operations = operation_watch_new(p->compute);
	if (!p->place)
		return false;
	p->near_name = describer_new(p->compute, p->place, BY_NAME, false);
	p->near_token = describer_new(p->compute, p->place, BY_TOKEN, false);
	p->far_name = describer_new(p->compute, p->place, BY_NAME, true);
	p->far_token = describer_new(p->compute, p->place, BY_TOKEN, true);
	return p->images && p->tags && p->catalogue && p->refusals && p->operations &&
	       p->near_name && p->near_token && p->far_name && p->far_token;
}

struct provider *driver_open(const void *values, const struct bound *bound, struct error *err)
{
	(void)bound;
	const struct gcp_options *o = values;
	if (gcp_options_check(o, err) < 0)
		return NULL;
	cleanup(driver_close_ptr) struct provider *p = calloc(1, sizeof(*p));
	if (!p) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	p->options = o;
	if (credentials_find(o, &p->credentials, err) < 0 ||
		place_check(o, &p->credentials, err) < 0)
		return NULL;
	p->compute = compute_new(o, &p->credentials, err);
	p->prices = p->compute ? prices_load("gcp", o->prices, err) : NULL;
	if (!p->compute || !p->prices)
		return NULL;
	if (!parts_make(p, o)) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	cleanup(free_ptr) char *type = default_type(o, gcp_options_tee(o));
	if (type && strcmp(type, o->machine_type) != 0)
		log_info(
			"gcp: %s cannot be a confidential VM of type %s: pods that wish nothing get a %s",
			o->machine_type, o->confidential_type, type);
	return take_ptr(p);
}

const struct provider_table peerpod_provider = {
	DRIVER_VERBS,
	.name = "gcp",
	.title = "instances of Google Compute Engine",
	.options = gcp_option_table,
	.option_count = GCP_OPTION_COUNT,
	.values_size = sizeof(struct gcp_options),
	.offerings = driver_offerings,
};
