/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - what can be set about the GCP driver
 *
 * Names, variables and defaults of the first block are upstream's; the second is what Google's own tools read from the
 * environment; the others are ours.
 */
#ifndef PEERPOD_GCP_OPTIONS_H
#define PEERPOD_GCP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/list.h"
#include "base/option.h"
#include "providers/provider.h"

struct gcp_options {
	struct secret credentials;
	char *project, *zone, *image, *machine_type, *machine_types, *network, *subnetwork,
		*disk_type, *confidential_type, *tags;
	int64_t root_volume_gib;
	bool disable_cvm, use_public_ip;

	char *credentials_file, *metadata_host, *quota_project;

	char *network_tags, *labels, *second_network, *second_subnetwork, *network_tier, *nic_type,
		*min_cpu_platform, *disk_interface, *kms_key, *accelerator_type, *spot;
	bool secure_boot, vtpm, integrity_monitoring;
	uint64_t max_run_ns;
	int64_t create_rate;
	char *prices, *catalogue_folder, *compute_endpoint, *manager_endpoint;
};

#define GCP_OPTION_COUNT 37
extern const struct option gcp_option_table[GCP_OPTION_COUNT];

/* What the table cannot say. The first fault found. */
int gcp_options_check(const struct gcp_options *o, struct error *err);

/* What GCP_CONFIDENTIAL_TYPE and DISABLECVM say: TEE_NONE, TEE_SNP, TEE_SEV or TEE_TDX. */
enum instance_tee gcp_options_tee(const struct gcp_options *o);

/* Which to consider for a pod that wishes this. */
void gcp_options_market(const struct gcp_options *o, enum instance_market market, bool *spot,
	bool *on_demand);

/* Goes through GCP_LABELS: as pairs_next, with what GCP does not take refused. */
int labels_next(const char **text, char **key, char **value, struct error *err);

/* Whether a URL is https, or http to this machine. */
int url_check(const char *what, const char *url, struct error *err);

#endif
