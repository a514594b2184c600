/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - the configuration against the cloud, without making anything; see driver.h
 *
 * Every finding goes into one message. The last step asks EC2 itself whether it would launch (DryRun).
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "providers/aws/driver.h"
#include "providers/aws/failure.h"
#include "providers/aws/launch.h"

struct findings {
	struct buf text;
	unsigned count;
};

static void findings_free(struct findings *f)
{
	buf_free(&f->text);
}

static void finding(struct findings *f, const char *what, struct error *why)
{
	buf_printf(&f->text, "\n  %s: %s", what, error_message(why));
	f->count++;
	error_clear(why);
}

static void check_ids(struct provider *p, struct findings *f, const char *action,
	const char *parameter, char *const *ids, const char *variable, const struct bound *bound)
{
	cleanup_error why = ERROR_INIT;
	cleanup_query query = {0};
	query_start(&query, action, EC2_VERSION);
	for (unsigned i = 0; ids[i]; i++)
		query_add(&query, ids[i], "%s.%u", parameter, i + 1);
	if (ids[0] && ec2_do(p->ec2, EC2_READ, &query, bound, &why) < 0)
		finding(f, variable, &why);
}

static void check_types(struct provider *p, struct findings *f, bool snp, const struct bound *bound)
{
	cleanup_error why = ERROR_INIT;
	const struct aws_options *o = p->options;
	struct type_facts *facts = NULL;
	size_t count = 0, total = 0;
	char **types = list_split(*o->instance_types ? o->instance_types : o->instance_type);
	while (types && types[total])
		total++;
	if (!types || catalogue_types(p->catalogue, types, &facts, &count, bound, &why) < 0) {
		finding(f, "instance types", &why);
	} else {
		if (count < total) {
			error_set(&why, ERROR_INVALID,
				"%zu of %zu do not exist in this region (see the log)",
				total - count, total);
			finding(f, "instance types", &why);
		}
		for (size_t i = 0; snp && i < count; i++) {
			if (facts[i].offering.tees & CHOICE_TEE_SNP)
				continue;
			error_set(&why, ERROR_INVALID,
				"%s has no SEV-SNP: use m6a, c6a or r6a, or set DISABLECVM=true",
				facts[i].offering.type);
			finding(f, "instance types", &why);
		}
	}
	free(facts);
	list_free(types);
}

static void check_launch(struct provider *p, struct findings *f,
	const struct place_network *network, const struct image_facts *image, bool snp,
	const struct bound *bound)
{
	cleanup_error why = ERROR_INIT;
	cleanup_query query = {0};
	const struct aws_options *o = p->options;
	const struct instance_request request = {.owner = {"", "", "", "", ""},
		.token = "0",
		.name = "podvm-check",
		.user_data = "",
		.instance_type = "",
		.image = ""};
	const struct offering offering = {.type = o->instance_type,
		.zone = network->subnets && network->subnets[0] ? network->subnets[0] : ""};
	struct launch launch = {.options = o,
		.request = &request,
		.network = *network,
		.image = o->image,
		.image_facts = *image,
		.offering = o->use_launch_template ? NULL : &offering,
		.snp = snp};
	if (launch_query(&launch, true, &query, &why) == 0 &&
		ec2_do(p->ec2, EC2_CREATE, &query, bound, &why) < 0 &&
		failure_has_code(&why, "DryRunOperation"))
		return;
	finding(f, "launch (dry run)", &why);
}

int driver_check(struct provider *p, const struct bound *bound, struct error *err)
{
	cleanup(findings_free) struct findings f = {0};
	cleanup_error why = ERROR_INIT;
	const struct aws_options *o = p->options;
	struct place_network network = {0};
	struct image_facts image = {"", "", "", "", 0};
	bool snp = !o->disable_cvm && !o->use_launch_template;
	static char *const none[] = {NULL};
	cleanup_query query = {0};
	/* Without a region or credentials nothing else can be found out. */
	query_start(&query, "DescribeInstances", EC2_VERSION);
	query_add(&query, "5", "MaxResults");
	if (ec2_do(p->ec2, EC2_READ, &query, bound, err) < 0)
		return -1;
	bool have_image = false;
	if (*o->image) {
		have_image = catalogue_image(p->catalogue, o->image, &image, bound, &why) == 0;
		if (!have_image)
			finding(&f, "PODVM_AMI_ID", &why);
	}
	if (snp && !strcmp(image.boot_mode, "legacy-bios")) {
		error_set(&why, ERROR_INVALID, "%s boots by BIOS, SEV-SNP needs UEFI", o->image);
		finding(&f, "PODVM_AMI_ID", &why);
	}
	bool have_network = place_network(ec2_place(p->ec2), &network, bound, &why) == 0;
	if (!have_network)
		finding(&f, "network", &why);
	check_ids(p, &f, "DescribeSubnets", "SubnetId", have_network ? network.subnets : none,
		"AWS_SUBNET_ID", bound);
	check_ids(p, &f, "DescribeSecurityGroups", "GroupId",
		have_network ? network.security_groups : none, "AWS_SG_IDS", bound);
	if (!o->use_launch_template)
		check_types(p, &f, snp, bound);
	if (!f.count)
		check_launch(p, &f, &network, &image, snp, bound);
	if (bound_check(bound, "check", err) < 0)
		return -1;
	if (f.count)
		return error_set(err, ERROR_INVALID, "%u findings:%s", f.count, buf_text(&f.text));
	log_info(
		"aws: credentials, image, network, instance types and permission to launch are in order");
	return 0;
}
