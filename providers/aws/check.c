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
#include "providers/aws/quota.h"

#define FILTER_MAX 200 /* values of a filter */
#define POLICY "compare the policy with docs/providers/aws-policy.json"

/* A row for what EC2 did not answer. */
static void check_refusal(struct check_report *r, const char *what, struct error *why)
{
	check_failure(r, what, failure_has_code(why, "UnauthorizedOperation") ? POLICY : NULL, why);
}

static void check_groups(struct provider *p, struct check_report *r, char *const *groups,
	const struct bound *bound)
{
	cleanup_error why = ERROR_INIT;
	cleanup_query query = {0};
	query_start(&query, "DescribeSecurityGroups", EC2_VERSION);
	for (unsigned i = 0; groups[i]; i++)
		query_add(&query, groups[i], "GroupId.%u", i + 1);
	if (ec2_do(p->ec2, EC2_READ, &query, bound, &why) < 0)
		check_refusal(r, "AWS_SG_IDS", &why);
	else
		check_right(r, "AWS_SG_IDS", "%zu found", list_count(groups));
}

/* Adds ", zone" to the texts of those types that the answer has; in[i] is of types[i]. */
static void add_zones(xmlNode *root, char *const *types, struct buf *in)
{
	xmlNode *item = xml_first_item(root, "instanceTypeOfferingSet");
	for (; item; item = xml_next_item(item)) {
		cleanup(free_ptr) char *type = xml_text(item, "instanceType"),
				       *zone = xml_text(item, "location");
		for (size_t i = 0; type && zone && types[i]; i++) {
			if (!strcmp(type, types[i]))
				buf_printf(&in[i], "%s%s", in[i].len ? ", " : "", zone);
		}
	}
}

static int find_zones(struct provider *p, char *const *types, char *const *zones, struct buf *in,
	const struct bound *bound, struct error *err)
{
	cleanup_query query = {0};
	cleanup_pages pages = {0};
	int result;
	query_start(&query, "DescribeInstanceTypeOfferings", EC2_VERSION);
	query_add(&query, "availability-zone", "LocationType");
	query_filter(&query, 1, "instance-type", (const char *const *)types);
	query_filter(&query, 2, "location", (const char *const *)zones);
	while ((result = ec2_page(p->ec2, &query, &pages, bound, err)) > 0)
		add_zones(pages.page, types, in);
	return result;
}

/* Is each type to be had in one of the zones? */
static void check_zones(struct provider *p, struct check_report *r, char *const *types,
	char *const *zones, const struct bound *bound)
{
	cleanup_error why = ERROR_INIT;
	cleanup(buf_free) struct buf all = BUF_INIT;
	size_t count = list_count(types);
	cleanup(free_ptr) struct buf *in = calloc(count + 1, sizeof(*in));
	if (!in)
		return;
	int result = find_zones(p, types, zones, in, bound, &why);
	if (result < 0)
		check_refusal(r, "zones", &why);
	for (; *zones; zones++)
		buf_printf(&all, "%s%s", all.len ? ", " : "", *zones);
	for (size_t i = 0; i < count; i++) {
		if (result == 0 && in[i].len)
			check_right(r, "zones", "%s is offered in %s", types[i], buf_text(&in[i]));
		else if (result == 0)
			check_wrong(r, ERROR_CAPACITY, "zones", "use a subnet in another zone",
				"%s is not offered in %s", types[i], buf_text(&all));
		buf_free(&in[i]);
	}
}

static void check_subnets(struct provider *p, struct check_report *r, char *const *subnets,
	const struct bound *bound)
{
	cleanup_error why = ERROR_INIT;
	cleanup_query query = {0};
	cleanup_xml *reply = NULL;
	cleanup(buf_free) struct buf zones = BUF_INIT;
	query_start(&query, "DescribeSubnets", EC2_VERSION);
	for (unsigned i = 0; subnets[i]; i++)
		query_add(&query, subnets[i], "SubnetId.%u", i + 1);
	if (ec2_call(p->ec2, EC2_READ, &query, &reply, bound, &why) < 0) {
		check_refusal(r, "AWS_SUBNET_ID", &why);
		return;
	}
	xmlNode *i = xml_first_item(xmlDocGetRootElement(reply), "subnetSet");
	for (; i; i = xml_next_item(i)) {
		cleanup(free_ptr) char *id = xml_text(i, "subnetId"),
				       *zone = xml_text(i, "availabilityZone");
		int64_t left = xml_number(i, "availableIpAddressCount", -1);
		if (!id || !zone)
			continue;
		buf_printf(&zones, "%s%s", zones.len ? "," : "", zone);
		if (left == 0)
			check_wrong(r, ERROR_CAPACITY, "AWS_SUBNET_ID", "add another subnet",
				"%s in %s has no free address", id, zone);
		else
			check_right(r, "AWS_SUBNET_ID", "%s in %s, %lld free addresses", id, zone,
				(long long)left);
	}
	const struct aws_options *o = p->options;
	cleanup_list zone_list = list_split(buf_text(&zones));
	cleanup_list types = list_split(*o->instance_types ? o->instance_types : o->instance_type);
	if (zone_list && *zone_list && types && *types && list_count(types) < FILTER_MAX)
		check_zones(p, r, types, zone_list, bound);
}

/* What list and delete need beside the instances themselves. */
static void check_leftovers(struct provider *p, struct check_report *r, const struct bound *bound)
{
	static const char *const actions[] = {"DescribeNetworkInterfaces", "DescribeAddresses",
		"DescribeVolumes"};
	for (size_t i = 0; i < array_size(actions); i++) {
		cleanup_error why = ERROR_INIT;
		cleanup_query query = {0};
		query_start(&query, actions[i], EC2_VERSION);
		query_add(&query, "true", "DryRun");
		if (ec2_do(p->ec2, EC2_READ, &query, bound, &why) == 0 ||
			failure_has_code(&why, "DryRunOperation"))
			check_right(r, "leftovers", "%s is allowed", actions[i]);
		else
			check_refusal(r, "leftovers", &why);
	}
}

/* In the markets that the options name. */
static void check_quotas(struct provider *p, struct check_report *r, const struct type_facts *facts,
	size_t count, const struct bound *bound)
{
	const char *spot = p->options->spot;
	cleanup(free_ptr) struct offering *list = calloc(2 * count + 1, sizeof(*list));
	size_t n = 0;
	for (size_t i = 0; list && i < 2 * count; i++) {
		bool is_spot = i & 1;
		if (!facts[i / 2].known || !strcmp(spot, is_spot ? "false" : "true"))
			continue;
		list[n] = facts[i / 2].type->offering;
		list[n++].spot = is_spot;
	}
	if (list)
		quota_check(p->ec2, r, list, n, bound);
}

static void check_type(struct check_report *r, const struct type_facts *facts, bool snp)
{
	const struct offering *f = &facts->type->offering;
	if (snp && !(f->tees & CHOICE_TEE_SNP))
		check_wrong(r, ERROR_INVALID, "instance types",
			"use m6a, c6a or r6a, or set DISABLECVM=true", "%s has no SEV-SNP",
			f->type);
	else
		check_right(r, "instance types", "%s: %lld vCPU, %lld MiB%s", f->type,
			(long long)f->vcpus, (long long)f->memory_mib,
			f->tees & CHOICE_TEE_SNP ? ", SEV-SNP" : "");
}

static void check_types(struct provider *p, struct check_report *r, bool snp,
	const struct bound *bound)
{
	cleanup_error why = ERROR_INIT;
	const struct aws_options *o = p->options;
	cleanup(free_ptr) struct type_facts *facts = NULL;
	size_t count = 0;
	cleanup_list types = list_split(*o->instance_types ? o->instance_types : o->instance_type);
	/* Pods go on with what was known at an earlier time; here it counts that EC2 tells it. */
	if (!types || catalogue_ask(p->catalogue, types, bound, &why) < 0 ||
		catalogue_types(p->catalogue, types, &facts, &count, bound, &why) < 0) {
		check_refusal(r, "instance types", &why);
		return;
	}
	for (char **t = types; *t; t++) {
		size_t i = 0;
		while (i < count && strcmp(facts[i].type->name, *t) != 0)
			i++;
		if (i < count)
			check_type(r, &facts[i], snp);
		else
			check_wrong(r, ERROR_INVALID, "instance types",
				"correct PODVM_INSTANCE_TYPE and PODVM_INSTANCE_TYPES",
				"there is no instance type %s in this region", *t);
	}
	if (!list_holds(types, o->instance_type))
		check_note(r, "instance types",
			"%s, the default, is not in PODVM_INSTANCE_TYPES: pods that ask for nothing are refused",
			o->instance_type);
	check_quotas(p, r, facts, count, bound);
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
		ec2_do(p->ec2, EC2_CREATE, &query, bound, &why) == 0)
		error_set(&why, ERROR_INTERNAL, "EC2 took no notice of DryRun");
	if (failure_has_code(&why, "DryRunOperation"))
		check_right(r, "launch", "EC2 would launch it (dry run)");
	else
		check_refusal(r, "launch", &why);
}

int driver_check(struct provider *p, struct check_report *r, const struct bound *bound,
	struct error *err)
{
	cleanup_error why = ERROR_INIT;
	const struct aws_options *o = p->options;
	struct place_network network = {0};
	struct image_facts image = IMAGE_FACTS_NONE;
	bool snp = !o->disable_cvm && !o->use_launch_template;
	cleanup_query query = {0};
	/* Without a region or credentials nothing else can be found out. */
	query_start(&query, "DescribeInstances", EC2_VERSION);
	query_add(&query, "5", "MaxResults");
	if (ec2_do(p->ec2, EC2_READ, &query, bound, &why) < 0) {
		bool policy = failure_has_code(&why, "UnauthorizedOperation");
		return check_give_up(r, "credentials",
			policy ? POLICY
			: why.kind == ERROR_DENIED
				? "check the key pair, or the role that gives it, and "
				  "AWS_REGION"
				: NULL,
			&why, err);
	}
	check_right(r, "credentials", "EC2 takes them");
	if (*o->image && (image_look_up(p->images, o->image, &image, bound, &why) < 0 ||
				 image_check(&image, o->image, snp, &why) < 0))
		check_refusal(r, "PODVM_AMI_ID", &why);
	else if (*o->image)
		check_right(r, "PODVM_AMI_ID", "%s, %s, root volume of %lld GiB", o->image,
			*image.architecture ? image.architecture : "unknown architecture",
			(long long)image.root_gib);
	bool have_network = place_network(ec2_place(p->ec2), &network, bound, &why) == 0;
	if (!have_network)
		check_failure(r, "network", NULL, &why);
	if (have_network && *network.subnets)
		check_subnets(p, r, network.subnets, bound);
	if (have_network && *network.security_groups)
		check_groups(p, r, network.security_groups, bound);
	if (!o->use_launch_template)
		check_types(p, r, snp, bound);
	check_leftovers(p, r, bound);
	if (!r->wrong)
		check_launch(p, r, &network, &image, snp, bound);
	if (bound_check(bound, "check", err) < 0)
		return -1;
	return check_conclude(r, err);
}
