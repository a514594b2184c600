/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - the configuration against the cloud, without making anything; see driver.h
 *
 * The last step asks EC2 itself whether it would launch (DryRun).
 */
#include <stdlib.h>
#include <string.h>

#include "providers/aws/driver.h"
#include "providers/aws/failure.h"
#include "providers/aws/launch.h"

static void check_ids(struct provider *p, struct check_report *r, const char *action,
	const char *parameter, char *const *ids, const char *variable, const struct bound *bound)
{
	cleanup_error why = ERROR_INIT;
	cleanup_query query = {0};
	query_start(&query, action, EC2_VERSION);
	for (unsigned i = 0; ids[i]; i++)
		query_add(&query, ids[i], "%s.%u", parameter, i + 1);
	if (!ids[0])
		return;
	if (ec2_do(p->ec2, EC2_READ, &query, bound, &why) < 0)
		check_failure(r, variable, NULL, &why);
	else
		check_right(r, variable, "%zu found", list_count(ids));
}

static void check_types(struct provider *p, struct check_report *r, bool snp,
	const struct bound *bound)
{
	cleanup_error why = ERROR_INIT;
	const struct aws_options *o = p->options;
	struct type_facts *facts = NULL;
	size_t count = 0;
	char **types = list_split(*o->instance_types ? o->instance_types : o->instance_type);
	size_t total = list_count(types);
	if (!types || catalogue_types(p->catalogue, types, &facts, &count, bound, &why) < 0) {
		check_failure(r, "instance types", NULL, &why);
	} else if (count < total) {
		check_wrong(r, ERROR_INVALID, "instance types", "see the log",
			"%zu of %zu do not exist in this region", total - count, total);
	}
	for (size_t i = 0; i < count; i++) {
		const struct offering *f = &facts[i].type->offering;
		if (!facts[i].known)
			check_unknown(r, "instance types", "%s", f->type);
		else if (snp && !(f->tees & CHOICE_TEE_SNP))
			check_wrong(r, ERROR_INVALID, "instance types",
				"use m6a, c6a or r6a, or set DISABLECVM=true", "%s has no SEV-SNP",
				f->type);
		else
			check_right(r, "instance types", "%s: %lld vCPU, %lld MiB%s", f->type,
				(long long)f->vcpus, (long long)f->memory_mib,
				f->tees & CHOICE_TEE_SNP ? ", SEV-SNP" : "");
	}
	free(facts);
	list_free(types);
}

static void check_launch(struct provider *p, struct check_report *r,
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
		.spot = !strcmp(o->spot, "true"),
		.zone = network->subnets && network->subnets[0] ? network->subnets[0] : ""};
	struct launch launch = {.options = o,
		.request = &request,
		.network = *network,
		.image = o->image,
		.image_facts = *image,
		.offering = o->use_launch_template ? NULL : &offering,
		.snp = snp,
		.spot = !strcmp(o->spot, "true"),
		.extras = ""};
	if (launch_query(&launch, true, &query, &why) == 0 &&
		ec2_do(p->ec2, EC2_CREATE, &query, bound, &why) < 0 &&
		failure_has_code(&why, "DryRunOperation"))
		check_right(r, "launch", "EC2 would launch it (dry run)");
	else
		check_failure(r, "launch", "compare the policy with docs/providers/aws-policy.json",
			&why);
}

int driver_check(struct provider *p, struct check_report *r, const struct bound *bound,
	struct error *err)
{
	cleanup_error why = ERROR_INIT;
	const struct aws_options *o = p->options;
	struct place_network network = {0};
	struct image_facts image = IMAGE_FACTS_NONE;
	bool snp = !o->disable_cvm && !o->use_launch_template;
	static char *const none[] = {NULL};
	cleanup_query query = {0};
	/* Without a region or credentials nothing else can be found out. */
	query_start(&query, "DescribeInstances", EC2_VERSION);
	query_add(&query, "5", "MaxResults");
	if (ec2_do(p->ec2, EC2_READ, &query, bound, &why) < 0) {
		check_failure(r, "credentials", NULL, &why);
		return check_conclude(r, err);
	}
	check_right(r, "credentials", "EC2 takes them");
	if (*o->image && image_look_up(p->images, o->image, &image, bound, &why) < 0)
		check_failure(r, "PODVM_AMI_ID", NULL, &why);
	else if (snp && !strcmp(image.boot_mode, "legacy-bios"))
		check_wrong(r, ERROR_INVALID, "PODVM_AMI_ID", "register it with boot mode uefi",
			"%s boots by BIOS, SEV-SNP needs UEFI", o->image);
	else if (*o->image)
		check_right(r, "PODVM_AMI_ID", "%s, %s, root volume of %lld GiB", o->image,
			*image.architecture ? image.architecture : "unknown architecture",
			(long long)image.root_gib);
	bool have_network = place_network(ec2_place(p->ec2), &network, bound, &why) == 0;
	if (!have_network)
		check_failure(r, "network", NULL, &why);
	check_ids(p, r, "DescribeSubnets", "SubnetId", have_network ? network.subnets : none,
		"AWS_SUBNET_ID", bound);
	check_ids(p, r, "DescribeSecurityGroups", "GroupId",
		have_network ? network.security_groups : none, "AWS_SG_IDS", bound);
	if (!o->use_launch_template)
		check_types(p, r, snp, bound);
	if (!r->wrong)
		check_launch(p, r, &network, &image, snp, bound);
	if (bound_check(bound, "check", err) < 0)
		return -1;
	return check_conclude(r, err);
}
