/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - what can be set about the AWS driver
 *
 * Names, variables and defaults of the first block are upstream's; the second is what Amazon's own tools read
 * from the environment; the others are ours.
 */
#ifndef PEERPOD_AWS_OPTIONS_H
#define PEERPOD_AWS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/list.h"
#include "base/option.h"

struct aws_options {
	struct secret access_key_id, secret_key, session_token;
	char *region, *profile, *instance_type, *instance_types, *image, *key_name, *subnet,
		*security_groups, *launch_template, *tags;
	int64_t root_volume_gib;
	bool use_launch_template, use_public_ip, disable_cvm;

	struct secret access_key_old, secret_key_old; /* AWS_ACCESS_KEY, AWS_SECRET_KEY */
	char *role_arn, *token_file, *role_session, *default_region, *default_profile,
		*credentials_file, *config_file, *ca_bundle, *endpoint, *endpoint_ec2,
		*endpoint_sts, *imds_endpoint, *container_full, *container_relative,
		*container_token_file;
	struct secret container_token;
	bool ignore_endpoints, imds_disabled, use_fips, use_dualstack;

	int64_t attempts_max;

	char *root_volume_type, *kms_key, *spot, *instance_profile, *prices, *catalogue_folder;
	bool root_volume_encrypted, imdsv2_only;
};

#define AWS_OPTION_COUNT 48
extern const struct option aws_option_table[AWS_OPTION_COUNT];

/* What the table cannot say. The first fault found. */
int aws_options_check(const struct aws_options *o, struct error *err);

/*
 * Goes through "k=v,k2=v2": 1 with key and value (new strings), 0 at the end, -1 for an item without '=' or
 * a key or value that EC2 does not take.
 */
int tags_next(const char **text, char **key, char **value, struct error *err);

/* Limits of EC2 tags. */
#define TAG_KEY_MAX 128
#define TAG_VALUE_MAX 256
#define TAGS_OF_OPERATOR_MAX 40 /* 50 a resource, less ours */

#endif
