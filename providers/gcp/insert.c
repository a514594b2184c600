/* SPDX-License-Identifier: Apache-2.0 */
/*
 * insert.c - see insert.h
 *
 * One request makes everything: the instance, its boot disk, its addresses, labels and tags. What it makes goes with
 * the instance; disks that existed before stay.
 */
#include "providers/gcp/insert.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "providers/gcp/family.h"
#include "providers/gcp/vm.h"

#define TOKEN_MAX 63 /* a label's value */
#define DEVICE_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
#define SNP_PLATFORM "AMD Milan" /* older hosts of n2d have no SEV-SNP */
#define ACCELERATED "n1"         /* the family to which GPUs are attached */

static int volumes_check(const struct instance_request *r, struct error *err)
{
	for (size_t i = 0; i < r->volume_count; i++) {
		const struct instance_volume *v = &r->volumes[i];
		if (!path_is_plain(v->id))
			return error_set(err, ERROR_INVALID,
				"volume \"%.200s\" is neither a disk's name nor projects/P/zones/Z/disks/D",
				v->id);
		if (strspn(v->serial, DEVICE_LETTERS) != strlen(v->serial) ||
			strlen(v->serial) > NAME_MAX_LEN)
			return error_set(err, ERROR_INVALID,
				"volume %s: \"%.100s\" is no device name: letters, digits, - _ and .",
				v->id, v->serial);
	}
	return 0;
}

int insert_check(const struct gcp_options *o, const struct instance_request *r, struct error *err)
{
	size_t len = strlen(r->token);
	if (!len || len > TOKEN_MAX || strspn(r->token, "0123456789abcdef-") != len)
		return error_set(err, ERROR_INVALID,
			"the creation token must have 1 to %d hexadecimal digits", TOKEN_MAX);
	if (r->user_data_len > USER_DATA_MAX)
		return error_set(err, ERROR_INVALID,
			"the user data has %zu bytes, %zu more than the %zu that Compute Engine takes (256 KiB as "
			"base64): shorten the initdata, or deliver registry credentials through the KBS instead of "
			"auth.json",
			r->user_data_len, r->user_data_len - USER_DATA_MAX, USER_DATA_MAX);
	if (r->second_nic && !*o->second_network)
		return error_set(err, ERROR_INVALID,
			"the pod needs a second network interface, and Compute Engine wants each in a network of its "
			"own: set GCP_SECOND_NETWORK");
	if (*r->instance_type && !name_is_plain(r->instance_type))
		return error_set(err, ERROR_INVALID,
			"\"%.100s\" is no machine type: they look like n2d-standard-2",
			r->instance_type);
	return volumes_check(r, err);
}

/* All of these return new references; a NULL anywhere fails the whole, in json_pack's way. */

static json_t *labels_of(const struct insert *in)
{
	const struct instance_owner *owner = &in->request->owner;
	const char *const ours[][2] = {
		{LABEL_TOKEN, in->request->token},
		{LABEL_CLUSTER, owner->cluster},
		{LABEL_NODE, owner->node},
		{LABEL_NAMESPACE, owner->pod_namespace},
		{LABEL_POD, owner->pod},
		{LABEL_SANDBOX, owner->sandbox},
	};
	cleanup_json *labels = json_object();
	const char *text = in->options->labels;
	for (size_t i = 0; i < array_size(ours); i++) {
		char value[NAME_SIZE];
		if (!ours[i][1] || !*ours[i][1])
			continue;
		label_value(ours[i][1], value);
		if (json_object_set_new(labels, ours[i][0], json_string(value)) < 0)
			return NULL;
	}
	for (;;) {
		cleanup(free_ptr) char *key = NULL, *value = NULL;
		int more = labels_next(&text, &key, &value, NULL);
		if (more < 0 || (more && json_object_set_new(labels, key, json_string(value)) < 0))
			return NULL;
		if (!more)
			return take_ptr(labels);
	}
}

static bool add_item(json_t *items, const char *key, const char *value)
{
	return !value || !*value ||
	       json_array_append_new(items, json_pack("{s:s, s:s}", "key", key, "value", value)) ==
		       0;
}

/* The guest reads user-data; the others are whose it is, exactly. */
static json_t *metadata_of(const struct insert *in)
{
	const struct instance_owner *owner = &in->request->owner;
	cleanup(buf_wipe) struct buf user_data = BUF_INIT;
	cleanup_json *items = json_array();
	base64_encode(in->request->user_data, in->request->user_data_len, &user_data);
	bool good = items && !user_data.failed &&
		    add_item(items, "user-data", buf_text(&user_data)) &&
		    add_item(items, "user-data-encoding", "base64") &&
		    add_item(items, LABEL_CLUSTER, owner->cluster) &&
		    add_item(items, LABEL_NODE, owner->node) &&
		    add_item(items, LABEL_NAMESPACE, owner->pod_namespace) &&
		    add_item(items, LABEL_POD, owner->pod) &&
		    add_item(items, LABEL_SANDBOX, owner->sandbox);
	return good ? json_pack("{s:O}", "items", items) : NULL;
}

static json_t *zonal(const struct insert *in, const char *collection, const char *name)
{
	return json_sprintf("projects/%s/zones/%s/%s/%s", in->at->project, in->offering->zone,
		collection, name);
}

static json_t *disk_type_of(const struct insert *in)
{
	const char *wanted = in->options->disk_type;
	if (strchr(wanted, '/'))
		return json_string(wanted);
	return zonal(in, "diskTypes", family_disk(in->offering->type, wanted));
}

static json_t *boot_disk(const struct insert *in, const json_t *labels)
{
	const struct gcp_options *o = in->options;
	int64_t gib =
		o->root_volume_gib > in->image->disk_gib ? o->root_volume_gib : in->image->disk_gib;
	cleanup_json *params = json_pack("{s:s, s:s, s:o, s:O}", "diskName", in->name,
		"sourceImage", in->image->path, "diskType", disk_type_of(in), "labels", labels);
	cleanup_json *disk = json_pack("{s:b, s:b, s:s, s:s, s:O}", "boot", 1, "autoDelete", 1,
		"type", "PERSISTENT", "mode", "READ_WRITE", "initializeParams", params);
	bool good = disk;
	if (good && gib)
		good = json_object_set_new(params, "diskSizeGb", json_sprintf("%" PRId64, gib)) ==
		       0;
	if (good && *o->disk_interface)
		good = json_object_set_new(disk, "interface", json_string(o->disk_interface)) == 0;
	if (good && *o->kms_key)
		good = json_object_set_new(disk, "diskEncryptionKey",
			       json_pack("{s:s}", "kmsKeyName", o->kms_key)) == 0;
	return good ? take_ptr(disk) : NULL;
}

/* In their order: the guest sees /dev/disk/by-id/google-<deviceName>. */
static json_t *data_disk(const struct insert *in, size_t n)
{
	const struct instance_volume *v = &in->request->volumes[n];
	cleanup(free_ptr) char *path = disk_path(in->at->project, in->offering->zone, v->id);
	json_t *device = *v->serial ? json_string(v->serial) : json_sprintf("vol-%zu", n);
	return json_pack("{s:s, s:b, s:b, s:s, s:s, s:o}", "source", path, "boot", 0, "autoDelete",
		0, "type", "PERSISTENT", "mode", "READ_WRITE", "deviceName", device);
}

static json_t *disks_of(const struct insert *in, const json_t *labels)
{
	cleanup_json *disks = json_array();
	bool good = json_array_append_new(disks, boot_disk(in, labels)) == 0;
	for (size_t i = 0; good && i < in->request->volume_count; i++)
		good = json_array_append_new(disks, data_disk(in, i)) == 0;
	return good ? take_ptr(disks) : NULL;
}

/* A subnetwork of another project says its network itself (shared VPC). */
static bool network_is_told(const struct insert *in, const char *network, const char *subnetwork)
{
	char theirs[128];
	if (!*network)
		return false;
	return !*subnetwork || !path_part(subnetwork, "projects", theirs, sizeof(theirs)) ||
	       !strcmp(theirs, in->at->project) || !strncmp(network, "projects/", 9);
}

static json_t *nic(const struct insert *in, const char *network, const char *subnetwork_asked,
	bool public_ip)
{
	const struct gcp_options *o = in->options;
	cleanup(free_ptr) char *subnetwork =
		*subnetwork_asked
			? subnetwork_path(in->at->project, in->offering->zone, subnetwork_asked)
			: strdup("");
	cleanup_json *nic = json_pack("{s:s}", "stackType", "IPV4_ONLY");
	bool good = nic && subnetwork;
	if (good && network_is_told(in, network, subnetwork))
		good = json_object_set_new(nic, "network", json_string(network)) == 0;
	if (good && *subnetwork)
		good = json_object_set_new(nic, "subnetwork", json_string(subnetwork)) == 0;
	if (good && *o->nic_type)
		good = json_object_set_new(nic, "nicType", json_string(o->nic_type)) == 0;
	if (good && public_ip)
		good = json_object_set_new(nic, "accessConfigs",
			       json_pack("[{s:s, s:s, s:s}]", "name", "External NAT", "type",
				       "ONE_TO_ONE_NAT", "networkTier", o->network_tier)) == 0;
	return good ? take_ptr(nic) : NULL;
}

static json_t *nics_of(const struct insert *in)
{
	const struct gcp_options *o = in->options;
	cleanup(free_ptr) char *second =
		*o->second_network ? network_path(o->second_network) : NULL;
	cleanup_json *nics = json_array();
	if (json_array_append_new(nics, nic(in, in->at->network, o->subnetwork, o->use_public_ip)) <
		0)
		return NULL;
	if (in->request->second_nic &&
		(!second || json_array_append_new(nics,
				    nic(in, second, o->second_subnetwork, false)) < 0))
		return NULL;
	return take_ptr(nics);
}

/* A pod VM that was started again has lost its pod: it ends instead. */
static json_t *scheduling_of(const struct insert *in, bool gpus)
{
	const struct gcp_options *o = in->options;
	cleanup_json *s = json_pack("{s:b}", "automaticRestart", 0);
	bool good = s;
	if (good && (in->tee != TEE_NONE || gpus || in->offering->spot))
		good = json_object_set_new(s, "onHostMaintenance", json_string("TERMINATE")) == 0;
	if (good && in->offering->spot)
		good = json_object_set_new(s, "provisioningModel", json_string("SPOT")) == 0;
	if (good && (in->offering->spot || o->max_run_ns))
		good = json_object_set_new(s, "instanceTerminationAction", json_string("DELETE")) ==
		       0;
	if (good && o->max_run_ns)
		good = json_object_set_new(s, "maxRunDuration",
			       json_pack("{s:o}", "seconds",
				       json_sprintf("%" PRIu64, o->max_run_ns / NS_PER_S))) == 0;
	return good ? take_ptr(s) : NULL;
}

static bool add_confidential(const struct insert *in, json_t *body)
{
	const char *platform = in->options->min_cpu_platform;
	if (in->tee == TEE_SNP && !*platform)
		platform = SNP_PLATFORM;
	if (*platform && json_object_set_new(body, "minCpuPlatform", json_string(platform)) < 0)
		return false;
	if (in->tee == TEE_NONE)
		return true;
	return json_object_set_new(body, "confidentialInstanceConfig",
		       json_pack("{s:b, s:s}", "enableConfidentialCompute", 1,
			       "confidentialInstanceType", family_tee_name(in->tee))) == 0;
}

static bool add_shielded(const struct gcp_options *o, json_t *body)
{
	if (!o->secure_boot && o->vtpm && o->integrity_monitoring)
		return true; /* as it is anyway */
	return json_object_set_new(body, "shieldedInstanceConfig",
		       json_pack("{s:b, s:b, s:b}", "enableSecureBoot", o->secure_boot,
			       "enableVtpm", o->vtpm, "enableIntegrityMonitoring",
			       o->integrity_monitoring)) == 0;
}

static bool add_network_tags(const struct gcp_options *o, json_t *body)
{
	cleanup_list tags = list_split(o->network_tags);
	cleanup_json *items = json_array();
	if (!tags || !items)
		return false;
	for (char **t = tags; *t; t++) {
		if (json_array_append_new(items, json_string(*t)) < 0)
			return false;
	}
	return !*tags || json_object_set_new(body, "tags", json_pack("{s:O}", "items", items)) == 0;
}

static bool add_gpus(const struct insert *in, json_t *body)
{
	cleanup_json *type = zonal(in, "acceleratorTypes", in->options->accelerator_type);
	return json_object_set_new(body, "guestAccelerators",
		       json_pack("[{s:O, s:I}]", "acceleratorType", type, "acceleratorCount",
			       (json_int_t)in->request->gpus)) == 0;
}

int insert_body(const struct insert *in, json_t **out, struct error *err)
{
	const struct gcp_options *o = in->options;
	bool attached = in->request->gpus > 0 && *o->accelerator_type &&
			!strcmp(in->offering->family, ACCELERATED);
	cleanup(free_ptr) char *description = vm_description(&in->request->owner);
	cleanup_json *labels = labels_of(in);
	cleanup_json *body = json_pack("{s:s, s:s, s:o, s:O, s:o, s:o, s:o, s:o, s:b}", "name",
		in->name, "description", description, "machineType",
		zonal(in, "machineTypes", in->offering->type), "labels", labels, "disks",
		disks_of(in, labels), "networkInterfaces", nics_of(in), "metadata", metadata_of(in),
		"scheduling", scheduling_of(in, attached || in->offering->gpus),
		"deletionProtection", 0);
	bool good = body && add_confidential(in, body) && add_shielded(o, body) &&
		    add_network_tags(o, body) && (!attached || add_gpus(in, body));
	if (good && in->tags)
		good = json_object_set_new(body, "params",
			       json_pack("{s:O}", "resourceManagerTags", in->tags)) == 0;
	if (!good)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	*out = take_ptr(body);
	return 0;
}
