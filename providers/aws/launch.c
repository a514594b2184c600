/* SPDX-License-Identifier: Apache-2.0 */
/* launch.c - see launch.h */
#include "providers/aws/launch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "providers/aws/tags.h"

#define TOKEN_MAX 48 /* a ClientToken has 64 characters; the rest is for the number of the try */

int launch_check(const struct aws_options *o, const struct instance_request *r, struct error *err)
{
	size_t len = strlen(r->token);
	if (!len || len > TOKEN_MAX || strspn(r->token, "0123456789abcdefABCDEF-") != len)
		return error_set(err, ERROR_INVALID,
			"the creation token must have 1 to %d hexadecimal digits", TOKEN_MAX);
	if (r->user_data_len > USER_DATA_MAX)
		return error_set(err, ERROR_INVALID,
			"the user data has %zu bytes, %zu more than the %d that EC2 takes: shorten the initdata, "
			"or deliver registry credentials through the KBS instead of auth.json",
			r->user_data_len, r->user_data_len - USER_DATA_MAX, USER_DATA_MAX);
	if (r->tee == TEE_TDX)
		return error_set(err, ERROR_UNSUPPORTED,
			"EC2 has no Intel TDX: it has AMD SEV-SNP");
	if (r->second_nic && o->use_public_ip)
		return error_set(err, ERROR_UNSUPPORTED,
			"a second network interface and USE_PUBLIC_IP exclude each other: EC2 gives no public address "
			"to an instance that is launched with two");
	if (r->second_nic && o->use_launch_template)
		return error_set(err, ERROR_UNSUPPORTED,
			"a second network interface and USE_PODVM_LAUNCHTEMPLATE exclude each other");
	return 0;
}

static void add_tag(struct query *q, unsigned spec, unsigned *n, const char *key, const char *value)
{
	char cut[TAG_VALUE_MAX + 1];
	snprintf(cut, sizeof(cut), "%s", value);
	(*n)++;
	query_add(q, key, "TagSpecification.%u.Tag.%u.Key", spec, *n);
	query_add(q, cut, "TagSpecification.%u.Tag.%u.Value", spec, *n);
}

static int add_tags(const struct launch *l, struct query *q, struct error *err)
{
	static const char *const kinds[] = {"instance", "volume", "network-interface"};
	const struct instance_owner *owner = &l->request->owner;
	const char *const ours[][2] = {
		{"Name", l->request->name},
		{TAG_TOKEN, l->request->token},
		{TAG_CLUSTER, owner->cluster},
		{TAG_NODE, owner->node},
		{TAG_NAMESPACE, owner->pod_namespace},
		{TAG_POD, owner->pod},
		{TAG_SANDBOX, owner->sandbox},
	};
	for (unsigned k = 0; k < array_size(kinds); k++) {
		unsigned n = 0;
		const char *text = l->options->tags;
		query_add(q, kinds[k], "TagSpecification.%u.ResourceType", k + 1);
		for (size_t i = 0; i < array_size(ours); i++) {
			if (ours[i][1] && *ours[i][1])
				add_tag(q, k + 1, &n, ours[i][0], ours[i][1]);
		}
		for (;;) {
			cleanup(free_ptr) char *key = NULL, *value = NULL;
			int more = tags_next(&text, &key, &value, err);
			if (more < 0)
				return -1;
			if (!more)
				break;
			add_tag(q, k + 1, &n, key, value);
		}
	}
	return 0;
}

static void add_groups(const struct launch *l, struct query *q, const char *prefix)
{
	for (unsigned i = 0; l->network.security_groups[i]; i++)
		query_add(q, l->network.security_groups[i], "%sSecurityGroupId.%u", prefix, i + 1);
}

static void add_nic(const struct launch *l, struct query *q, unsigned n)
{
	char prefix[40];
	snprintf(prefix, sizeof(prefix), "NetworkInterface.%u.", n);
	query_add(q, n == 1 ? "0" : "1", "%sDeviceIndex", prefix);
	query_add(q, l->offering->zone, "%sSubnetId", prefix);
	add_groups(l, q, prefix);
	if (l->options->use_public_ip)
		query_add(q, "true", "%sAssociatePublicIpAddress", prefix);
	query_add(q, "true", "%sDeleteOnTermination", prefix);
}

static void add_root_volume(const struct launch *l, struct query *q)
{
	const struct aws_options *o = l->options;
	const char *prefix = "BlockDeviceMapping.1.";
	if (!o->root_volume_gib && !*o->root_volume_type && !o->root_volume_encrypted)
		return;
	int64_t gib = o->root_volume_gib > l->image_facts.root_gib ? o->root_volume_gib
								   : l->image_facts.root_gib;
	query_add(q, l->image_facts.root_device, "%sDeviceName", prefix);
	if (gib)
		query_add_int(q, gib, "BlockDeviceMapping.1.Ebs.VolumeSize");
	if (*o->root_volume_type)
		query_add(q, o->root_volume_type, "%sEbs.VolumeType", prefix);
	if (o->root_volume_encrypted)
		query_add(q, "true", "%sEbs.Encrypted", prefix);
	if (*o->kms_key)
		query_add(q, o->kms_key, "%sEbs.KmsKeyId", prefix);
	query_add(q, "true", "%sEbs.DeleteOnTermination", prefix);
}

/* What a launch template says otherwise; the pod's own wishes still count there. */
static void add_template(const struct launch *l, struct query *q)
{
	query_add(q, l->options->launch_template, "LaunchTemplate.LaunchTemplateName");
	if (*l->request->image)
		query_add(q, l->request->image, "ImageId");
	if (*l->request->instance_type)
		query_add(q, l->request->instance_type, "InstanceType");
}

static void add_machine(const struct launch *l, struct query *q)
{
	query_add(q, l->image, "ImageId");
	query_add(q, l->offering->type, "InstanceType");
	if (l->options->use_public_ip || l->request->second_nic) {
		add_nic(l, q, 1);
		if (l->request->second_nic)
			add_nic(l, q, 2);
	} else {
		query_add(q, l->offering->zone, "SubnetId");
		add_groups(l, q, "");
	}
	if (*l->network.key_name)
		query_add(q, l->network.key_name, "KeyName");
	add_root_volume(l, q);
	if (l->snp)
		query_add(q, "enabled", "CpuOptions.AmdSevSnp");
}

int launch_query(const struct launch *l, bool dry, struct query *q, struct error *err)
{
	cleanup(buf_wipe) struct buf user_data = BUF_INIT;
	base64_encode(l->request->user_data, l->request->user_data_len, &user_data);
	query_start(q, "RunInstances", EC2_VERSION);
	query_add(q, "1", "MinCount");
	query_add(q, "1", "MaxCount");
	if (dry)
		query_add(q, "true", "DryRun");
	else
		query_add(q, l->client_token, "ClientToken");
	if (l->offering)
		add_machine(l, q);
	else
		add_template(l, q);
	query_add(q, buf_text(&user_data), "UserData");
	/* A pod VM that powers itself off must not linger as a stopped instance. */
	if (l->options->spot)
		query_add(q, "spot", "InstanceMarketOptions.MarketType");
	else
		query_add(q, "terminate", "InstanceInitiatedShutdownBehavior");
	if (l->options->imdsv2_only) {
		query_add(q, "required", "MetadataOptions.HttpTokens");
		query_add(q, "1", "MetadataOptions.HttpPutResponseHopLimit");
	}
	if (add_tags(l, q, err) < 0)
		return -1;
	return user_data.failed || q->body.failed ? error_set(err, ERROR_CAPACITY, "out of memory")
						  : 0;
}
