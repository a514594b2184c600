/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider.c - the door of the AWS driver: the table that the loader reads
 *
 * Opening checks the options and asks nothing of anybody: an adaptor starts, and serves what runs, also while Amazon
 * cannot be reached.
 */
#include <libxml/parser.h>
#include <stdlib.h>
#include <string.h>

#include "providers/aws/driver.h"
#include "providers/aws/tags.h"

void driver_close(struct provider *p)
{
	if (!p)
		return;
	describer_free(p->by_id);
	describer_free(p->by_token);
	catalogue_free(p->catalogue);
	images_free(p->images);
	if (p->refusals)
		choice_memory_free(p->refusals);
	ec2_free(p->ec2);
	free(p);
}

struct provider *driver_open(const void *values, const struct bound *bound, struct error *err)
{
	(void)bound;
	const struct aws_options *options = values;
	if (aws_options_check(options, err) < 0)
		return NULL;
	xmlInitParser();
	cleanup(prices_free_ptr) struct prices *prices = prices_load("aws", options->prices, err);
	if (!prices) {
		error_prefix(err, "AWS_PRICES");
		return NULL;
	}
	cleanup(driver_close_ptr) struct provider *p = calloc(1, sizeof(*p));
	if (p) {
		p->options = options;
		p->ec2 = ec2_new(options, err);
		if (!p->ec2)
			return NULL;
		p->by_id = describer_new(p->ec2, "instance-id", false);
		p->by_token = describer_new(p->ec2, TOKEN_FILTER, true);
		p->catalogue = catalogue_new(p->ec2, options->catalogue_folder, take_ptr(prices));
		p->images = images_new(p->ec2);
		p->refusals = choice_memory_new(NULL);
	}
	if (!p || !p->by_id || !p->by_token || !p->catalogue || !p->images || !p->refusals) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	return take_ptr(p);
}

int driver_offerings(struct provider *p, struct offerings *out, const struct bound *bound,
	struct error *err)
{
	const char *region = place_region(ec2_place(p->ec2), bound, err);
	*out = (struct offerings){0};
	if (!region)
		return -1;
	prices_tell(catalogue_prices(p->catalogue), &out->prices_date, &out->prices_source,
		&out->currency);
	out->region = strdup(region);
	if (!out->region)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	if (catalogue_offerings(p->catalogue, &out->list, &out->count, bound, err) == 0)
		return 0;
	offerings_free(out);
	return -1;
}

const struct provider_table peerpod_provider = {
	DRIVER_VERBS,
	.name = "aws",
	.title = "instances of Amazon EC2",
	.options = aws_option_table,
	.option_count = AWS_OPTION_COUNT,
	.values_size = sizeof(struct aws_options),
	.offerings = driver_offerings,
};
