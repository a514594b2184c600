/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider.c - the door of the Azure driver: the table that the loader reads
 *
 * Opening checks the options and asks nothing of Azure: an adaptor starts, and serves what runs, also while Azure cannot
 * be reached. Only where the options do not say where pod VMs belong, this machine's metadata service is asked.
 */
#include <stdlib.h>
#include <string.h>

#include "providers/azure/driver.h"
#include "providers/azure/options.h"

void driver_close(struct provider *p)
{
	if (!p)
		return;
	watch_free(p->watch);
	catalogue_free(p->catalogue);
	images_free(p->images);
	if (p->prices)
		prices_free(p->prices);
	if (p->refusals)
		choice_memory_free(p->refusals);
	arm_free(p->arm);
	ssh_key_free(p->ssh_key);
	place_free(&p->place);
	free(p);
}

struct provider *driver_open(const void *values, const struct bound *bound, struct error *err)
{
	cleanup(driver_close_ptr) struct provider *p = calloc(1, sizeof(*p));
	if (!p) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	const struct azure_options *options = p->options = &p->filled;
	p->filled = *(const struct azure_options *)values;
	if (azure_options_check(options, err) < 0 ||
		place_fill(&p->place, &p->filled, bound, err) < 0)
		return NULL;
	p->prices = prices_load("azure", options->prices, err);
	p->arm = p->prices ? arm_new(options, err) : NULL;
	if (!p->arm)
		return NULL;
	p->watch = watch_new(p->arm, options);
	p->catalogue = catalogue_new(p->arm, options);
	p->images = images_new(p->arm, options);
	p->refusals = choice_memory_new(NULL);
	p->ssh_key = ssh_key_new(options->ssh_key_path);
	if (!p->watch || !p->catalogue || !p->images || !p->refusals || !p->ssh_key) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	/* A file that cannot be used is told now, not by the first pod. */
	if (*options->ssh_key_path && !ssh_key_text(p->ssh_key, err))
		return NULL;
	return take_ptr(p);
}

const struct provider_table peerpod_provider = {
	DRIVER_VERBS,
	.name = "azure",
	.title = "virtual machines of Microsoft Azure",
	.options = azure_option_table,
	.option_count = AZURE_OPTION_COUNT,
	.values_size = sizeof(struct azure_options),
	.offerings = driver_offerings,
};
