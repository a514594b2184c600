/* SPDX-License-Identifier: Apache-2.0 */
/* launch.c - see launch.h */
#include "providers/azure/launch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "providers/azure/arm.h"
#include "providers/azure/arm_id.h"
#include "providers/azure/tags.h"

#define TOKEN_MAX 64
#define VOLUMES_MAX 64

int launch_tees(const struct azure_options *o, const struct instance_request *r, unsigned *tees,
	struct error *err)
{
	switch (r->tee) {
	case TEE_DEFAULT:
		*tees = o->disable_cvm ? 0 : CHOICE_TEE_SNP | CHOICE_TEE_TDX;
		return 0;
	case TEE_NONE:
		*tees = 0;
		return 0;
	case TEE_SNP:
		*tees = CHOICE_TEE_SNP;
		return 0;
	case TEE_TDX:
		*tees = CHOICE_TEE_TDX;
		return 0;
	case TEE_SEV:
		return error_set(err, ERROR_UNSUPPORTED,
			"Azure has no AMD SEV without SNP: ask for snp or tdx");
	}
	return error_set(err, ERROR_INVALID, "TEE %d is not known", (int)r->tee);
}

int launch_check(const struct azure_options *o, const struct instance_request *r, struct error *err)
{
	size_t len = strlen(r->token), base64 = (r->user_data_len + 2) / 3 * 4;
	enum image_form form;
	unsigned tees;
	if (!len || len > TOKEN_MAX || strspn(r->token, "0123456789abcdefABCDEF-") != len)
		return error_set(err, ERROR_INVALID,
			"the creation token must have 1 to %d hexadecimal digits", TOKEN_MAX);
	if (base64 > USER_DATA_BASE64_MAX)
		return error_set(err, ERROR_INVALID,
			"the user data has %zu bytes, %zu more than the %d that Azure takes (64 KiB in base64): "
			"shorten the initdata, or deliver registry credentials through the KBS instead of auth.json",
			r->user_data_len, r->user_data_len - USER_DATA_MAX, USER_DATA_MAX);
	if (r->volume_count > VOLUMES_MAX)
		return error_set(err, ERROR_INVALID,
			"%zu volumes are more than the %d that a VM takes", r->volume_count,
			VOLUMES_MAX);
	if (*r->image && image_form_of("image", r->image, &form, err) < 0)
		return -1;
	return launch_tees(o, r, &tees, err);
}

/* ---- the parts of the body: each a new object, NULL: no memory ------------------------------------------------ */

static json_t *image_reference(const char *image)
{
	enum image_form form = IMAGE_MANAGED;
	image_form_of("image", image, &form, NULL);
	switch (form) {
	case IMAGE_COMMUNITY:
		return json_pack("{s:s}", "communityGalleryImageId", image);
	case IMAGE_SHARED:
		return json_pack("{s:s}", "sharedGalleryImageId", image);
	case IMAGE_MANAGED:
	case IMAGE_GALLERY:
		break;
	}
	return json_pack("{s:s}", "id", image);
}

static json_t *managed_disk(const struct launch *l)
{
	const struct azure_options *o = l->options;
	bool whole = !strcmp(o->disk_encryption, ENCRYPT_DISK);
	json_t *set =
		*o->disk_encryption_set ? json_pack("{s:s}", "id", o->disk_encryption_set) : NULL;
	json_t *disk = json_pack("{s:s}", "storageAccountType", o->os_disk_type);
	if (l->tees) {
		json_t *security = json_pack("{s:s}", "securityEncryptionType", o->disk_encryption);
		/* The set's key encrypts the disk from inside the VM's protection, or at rest. */
		if (set && whole)
			json_object_set_new(security, "diskEncryptionSet", json_incref(set));
		json_object_set_new(disk, "securityProfile", security);
	}
	if (set && !(l->tees && whole))
		json_object_set(disk, "diskEncryptionSet", set);
	json_decref(set);
	return disk;
}

static json_t *os_disk(const struct launch *l)
{
	const struct azure_options *o = l->options;
	bool ephemeral = *o->os_disk_ephemeral;
	json_t *disk = json_pack("{s:s, s:s, s:s, s:s, s:o}", "name", l->disk_name, "createOption",
		"FromImage", "caching", ephemeral ? "ReadOnly" : "ReadWrite", "deleteOption",
		"Delete", "managedDisk", managed_disk(l));
	if (o->root_volume_gib)
		json_object_set_new(disk, "diskSizeGB", json_integer(o->root_volume_gib));
	if (ephemeral)
		json_object_set_new(disk, "diffDiskSettings",
			json_pack("{s:s, s:s}", "option", "Local", "placement",
				o->os_disk_ephemeral));
	return disk;
}

static json_t *data_disks(const struct launch *l)
{
	json_t *list = json_array();
	for (size_t i = 0; i < l->request->volume_count; i++)
		json_array_append_new(list,
			json_pack("{s:i, s:s, s:s, s:{s:s}}", "lun", (int)i, "createOption",
				"Attach", "deleteOption", "Detach", "managedDisk", "id",
				l->request->volumes[i].id));
	return list;
}

static json_t *storage_profile(const struct launch *l)
{
	json_t *storage = json_pack("{s:o, s:o}", "imageReference", image_reference(l->image),
		"osDisk", os_disk(l));
	if (l->request->volume_count)
		json_object_set_new(storage, "dataDisks", data_disks(l));
	return storage;
}

static json_t *os_profile(const struct launch *l)
{
	const char *user = l->options->ssh_user;
	char path[128];
	snprintf(path, sizeof(path), "/home/%s/.ssh/authorized_keys", user);
	/* Nothing is put into a pod VM from outside: no agent of Azure's, no extensions. */
	return json_pack("{s:s, s:s, s:b, s:{s:b, s:b, s:{s:[{s:s, s:s}]}}}", "adminUsername", user,
		"computerName", l->vm_name, "allowExtensionOperations", 0, "linuxConfiguration",
		"disablePasswordAuthentication", 1, "provisionVMAgent", 0, "ssh", "publicKeys",
		"path", path, "keyData", l->ssh_key);
}

static json_t *public_address(const struct launch *l, const char *name, json_t *tags)
{
	(void)l;
	return json_pack("{s:s, s:O, s:{s:s, s:s}, s:{s:s, s:s}}", "name", name, "tags", tags,
		"sku", "name", "Standard", "tier", "Regional", "properties", "deleteOption",
		"Delete", "publicIPAllocationMethod", "Static");
}

static json_t *nic(const struct launch *l, unsigned index, json_t *tags)
{
	const struct azure_options *o = l->options;
	char name[80];
	snprintf(name, sizeof(name), "%s-net%s", l->vm_name, index ? "2" : "");
	const char *subnet = index && *o->second_subnet ? o->second_subnet : l->subnet;
	json_t *ip = json_pack("{s:b, s:{s:s}}", "primary", 1, "subnet", "id", subnet);
	if (o->public_ip && !index)
		json_object_set_new(ip, "publicIPAddressConfiguration",
			public_address(l, name, tags));
	json_t *properties =
		json_pack("{s:b, s:s, s:[{s:s, s:o}]}", "primary", index == 0, "deleteOption",
			"Delete", "ipConfigurations", "name", "ip-config", "properties", ip);
	if (*o->security_group)
		json_object_set_new(properties, "networkSecurityGroup",
			json_pack("{s:s}", "id", o->security_group));
	if (o->accelerated_networking)
		json_object_set_new(properties, "enableAcceleratedNetworking", json_true());
	return json_pack("{s:s, s:O, s:o}", "name", name, "tags", tags, "properties", properties);
}

static json_t *network_profile(const struct launch *l, json_t *tags)
{
	json_t *nics = json_array();
	json_array_append_new(nics, nic(l, 0, tags));
	if (l->request->second_nic)
		json_array_append_new(nics, nic(l, 1, tags));
	return json_pack("{s:s, s:o}", "networkApiVersion", VERSION_NETWORK_OF_VM,
		"networkInterfaceConfigurations", nics);
}

static void set_security(const struct launch *l, json_t *properties)
{
	json_t *security = json_object();
	if (l->tees) {
		json_object_set_new(security, "securityType", json_string("ConfidentialVM"));
		json_object_set_new(security, "uefiSettings",
			json_pack("{s:b, s:b}", "secureBootEnabled", (int)l->options->secure_boot,
				"vTpmEnabled", 1));
	}
	if (l->options->encryption_at_host)
		json_object_set_new(security, "encryptionAtHost", json_true());
	if (json_object_size(security))
		json_object_set(properties, "securityProfile", security);
	json_decref(security);
}

static int set_user_data(const struct launch *l, json_t *properties)
{
	cleanup(buf_wipe) struct buf text = BUF_INIT;
	base64_encode(l->request->user_data, l->request->user_data_len, &text);
	return text.failed
		       ? -1
		       : json_object_set_new(properties, "userData", json_string(buf_text(&text)));
}

static int set_identities(const struct launch *l, json_t *body)
{
	cleanup_list list = list_split(l->options->identities);
	json_t *ids = json_object();
	for (char **one = list; one && *one; one++)
		json_object_set_new(ids, *one, json_object());
	int result = list && ids ? 0 : -1;
	if (json_object_size(ids))
		result = json_object_set_new(body, "identity",
			json_pack("{s:s, s:O}", "type", "UserAssigned", "userAssignedIdentities",
				ids));
	json_decref(ids);
	return result;
}

json_t *launch_body(const struct launch *l, struct error *err)
{
	cleanup_json *tags = tags_make(l->options, l->request, l->vm_name, err);
	if (!tags)
		return NULL;
	cleanup_json *properties = json_pack("{s:{s:s}, s:o, s:o, s:o}", "hardwareProfile",
		"vmSize", l->offering->type, "storageProfile", storage_profile(l), "osProfile",
		os_profile(l), "networkProfile", network_profile(l, tags));
	cleanup_json *body = json_pack("{s:s, s:O, s:O*}", "location", l->options->region, "tags",
		tags, "properties", properties);
	int result = body && properties ? set_user_data(l, properties) : -1;
	set_security(l, properties);
	if (l->options->boot_diagnostics)
		json_object_set_new(properties, "diagnosticsProfile",
			json_pack("{s:{s:b}}", "bootDiagnostics", "enabled", 1));
	if (l->offering->spot) {
		json_object_set_new(properties, "priority", json_string("Spot"));
		json_object_set_new(properties, "evictionPolicy", json_string("Delete"));
		/* At most the price without spot: never taken away for its price. */
		json_object_set_new(properties, "billingProfile",
			json_pack("{s:i}", "maxPrice", -1));
	}
	if (*l->offering->zone)
		json_object_set_new(body, "zones", json_pack("[s]", l->offering->zone));
	if (result == 0)
		result = set_identities(l, body);
	if (result == 0)
		return take_ptr(body);
	error_set(err, ERROR_INVALID,
		"the request of VM %s cannot be written: memory, or text that is no UTF-8",
		l->vm_name);
	return NULL;
}
