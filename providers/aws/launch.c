/* SPDX-License-Identifier: Apache-2.0 */
/* launch.c - see launch.h */
#include "providers/aws/launch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "providers/aws/tags.h"

#define TOKEN_MAX 48 /* a ClientToken has 64 characters; the rest is for the number of the try */

int launch_check(const struct instance_request *r, struct error *err)
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
	if (r->tee == TEE_SEV)
		return error_set(err, ERROR_UNSUPPORTED,
			"EC2 has no AMD SEV without SNP: ask for SEV-SNP");
	return 0;
}

static int add_tags(const struct launch *l, struct query *q, struct error *err)
{
	static const char *const kinds[] = {"instance", "volume", "network-interface"};
	for (unsigned k = 0; k < array_size(kinds); k++) {
		if (tags_add(q, k + 1, kinds[k], l->request, k == 0 ? l->extras : "",
			    l->options->tags, err) < 0)
			return -1;
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
	/* Not with two: then it is an elastic address (extras.h). */
	if (l->options->use_public_ip && !l->request->second_nic)
		query_add(q, "true", "%sAssociatePublicIpAddress", prefix);
	query_add(q, "true", "%sDeleteOnTermination", prefix);
}

/* What the options say of the root volume; and no volume of the AMI outlives the instance, whatever the AMI says. */
static int add_volumes(const struct launch *l, struct query *q, struct error *err)
{
	const struct aws_options *o = l->options;
	const struct image_facts *image = &l->image_facts;
	unsigned n = 0;
	int64_t gib = o->root_volume_gib > image->root_gib ? o->root_volume_gib : image->root_gib;
	bool changed = o->root_volume_gib || *o->root_volume_type || o->root_volume_encrypted;
	char **kept = list_split(image->kept_devices);
	if (!kept)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	if (changed || image->keeps_root) {
		query_add(q, image->root_device, "BlockDeviceMapping.%u.DeviceName", ++n);
		if (changed && gib)
			query_add_int(q, gib, "BlockDeviceMapping.1.Ebs.VolumeSize");
		if (*o->root_volume_type)
			query_add(q, o->root_volume_type, "BlockDeviceMapping.1.Ebs.VolumeType");
		if (o->root_volume_encrypted)
			query_add(q, "true", "BlockDeviceMapping.1.Ebs.Encrypted");
		if (*o->kms_key)
			query_add(q, o->kms_key, "BlockDeviceMapping.1.Ebs.KmsKeyId");
		query_add(q, "true", "BlockDeviceMapping.1.Ebs.DeleteOnTermination");
	}
	for (char **device = kept; *device; device++) {
		query_add(q, *device, "BlockDeviceMapping.%u.DeviceName", ++n);
		query_add(q, "true", "BlockDeviceMapping.%u.Ebs.DeleteOnTermination", n);
	}
	list_free(kept);
	return 0;
}

/* What a launch template says otherwise; the pod's own wishes still count there. */
static void add_template(const struct launch *l, struct query *q)
{
	query_add(q, l->options->launch_template, "LaunchTemplate.LaunchTemplateName");
	if (*l->request->image)
		query_add(q, l->request->image, "ImageId");
	if (l->offering)
		query_add(q, l->offering->type, "InstanceType");
}

static int add_machine(const struct launch *l, struct query *q, struct error *err)
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
	/* A name, or an ARN. */
	const char *profile = l->options->instance_profile;
	if (*profile)
		query_add(q, profile, "IamInstanceProfile.%s",
			strncmp(profile, "arn:", 4) ? "Name" : "Arn");
	return add_volumes(l, q, err);
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
	if (l->options->use_launch_template)
		add_template(l, q);
	else if (add_machine(l, q, err) < 0)
		return -1;
	if (l->snp)
		query_add(q, "enabled", "CpuOptions.AmdSevSnp");
	query_add(q, buf_text(&user_data), "UserData");
	/* A pod VM that powers itself off must not linger as a stopped instance; spot ones never do. */
	if (l->offering ? l->offering->spot : l->spot)
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
