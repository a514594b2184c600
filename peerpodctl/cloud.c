/* SPDX-License-Identifier: Apache-2.0 */
/* cloud.c - see cloud.h */
#include "peerpodctl/cloud.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "peerpodctl/progress.h"
#include "providers/loader.h"

int cloud_named(struct invocation *in, struct error *err)
{
	if (*in->values.provider)
		return 0;
	return usage_error(in, "which driver? Name it with --provider, or set CLOUD_PROVIDER");
}

static int parse(struct invocation *in, struct cloud *cloud, struct error *err)
{
	bool help = false;
	if (options_parse(&cloud->set, 1, in->driver_option_count, in->driver_options, NULL, &help,
		    err) < 0) {
		in->is_usage = true;
		free(take_ptr(cloud->set.values));
		return error_prefix(err, "options of %s", cloud->table->name);
	}
	if (!help)
		return 0;
	return usage_error(in, "`peerpodctl help %s` lists the options of %s", cloud->table->name,
		cloud->table->name);
}

static int load(const char *provider, const char *named_folder, struct cloud *cloud,
	struct error *err)
{
	cleanup(free_ptr) char *folder = provider_folder(named_folder, err);
	if (!folder)
		return -1;
	cloud->table = provider_load(folder, provider, err);
	if (!cloud->table)
		return -1;
	size_t size = cloud->table->values_size ? cloud->table->values_size : 1;
	cloud->set = (struct option_set){.title = "Options of the driver",
		.options = cloud->table->options,
		.count = cloud->table->option_count,
		.values = calloc(1, size)};
	return cloud->set.values ? 0 : error_set(err, ERROR_CAPACITY, "out of memory");
}

int cloud_open(struct invocation *in, struct cloud *cloud, struct error *err)
{
	*cloud = (struct cloud){0};
	enum log_level level;
	if (log_level_parse(in->values.log_level, &level, err) < 0) {
		in->is_usage = true;
		return error_prefix(err, "option --log-level");
	}
	log_init("peerpodctl", level, LOG_TEXT);
	if (cloud_named(in, err) < 0)
		return -1;
	if (load(in->values.provider, in->values.provider_dir, cloud, err) < 0) {
		in->is_usage = err->kind == ERROR_GONE || err->kind == ERROR_INVALID;
		return -1;
	}
	if (parse(in, cloud, err) < 0)
		return -1;
	cloud->bound.deadline_ns = deadline_in(in->values.timeout_ns);
	progress_scope("open the driver");
	cloud->provider = cloud->table->open(cloud->set.values, &cloud->bound, err);
	if (cloud->provider)
		return 0;
	in->is_usage = err->kind == ERROR_INVALID;
	return error_prefix(err, "%s", cloud->table->name);
}

void cloud_close(struct cloud *cloud)
{
	if (cloud->provider)
		cloud->table->close(cloud->provider);
	if (cloud->set.values) {
		options_free(&cloud->set, 1);
		free(cloud->set.values);
	}
	*cloud = (struct cloud){0};
}

int cloud_help(const char *provider, const char *folder, FILE *out, struct error *err)
{
	struct cloud cloud = {0};
	if (load(provider, folder, &cloud, err) < 0)
		return -1;
	fprintf(out, "%s: %s\n\n", cloud.table->name, cloud.table->title);
	options_help(&cloud.set, 1, out);
	free(cloud.set.values);
	return 0;
}
