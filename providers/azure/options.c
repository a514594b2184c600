/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - see options.h */
#include "providers/azure/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "providers/azure/arm_id.h"
#include "providers/azure/cloud.h"
#include "providers/azure/tags.h"
#include "providers/choice/catalogue_file.h"

static const char *const spot_choices[] = {"false", "true", "prefer", NULL};
static const char *const credential_kinds[] = {"", "secret", "workload", "managed", NULL};
static const char *const disk_types[] = {"Premium_LRS", "Premium_ZRS", "StandardSSD_LRS",
	"StandardSSD_ZRS", "Standard_LRS", NULL};
static const char *const ephemeral_places[] = {"", "CacheDisk", "ResourceDisk", "NvmeDisk", NULL};
static const char *const encryptions[] = {ENCRYPT_GUEST_STATE, ENCRYPT_DISK, ENCRYPT_NOTHING, NULL};

#define SUBNETS_MAX 16

#define AT(member) offsetof(struct azure_options, member)

const struct option azure_option_table[AZURE_OPTION_COUNT] = {
	{"clientid", "AZURE_CLIENT_ID", "", "client id of the identity that is used", AT(client_id),
		OPTION_SECRET},
	{"secret", "AZURE_CLIENT_SECRET", "",
		"its secret; empty: workload identity, else the managed identity of this machine",
		AT(client_secret), OPTION_SECRET},
	{"tenantid", "AZURE_TENANT_ID", "", "tenant of the identity", AT(tenant_id), OPTION_SECRET},
	{"subscriptionid", "AZURE_SUBSCRIPTION_ID", "",
		"subscription of the pod VMs; empty: that of this machine", AT(subscription),
		OPTION_STRING},
	{"region", "AZURE_REGION", "",
		"region of the pod VMs, as in eastus; empty: that of this machine", AT(region),
		OPTION_STRING},
	{"resourcegroup", "AZURE_RESOURCE_GROUP", "",
		"resource group in which VMs, NICs and disks are made; empty: that of this machine",
		AT(resource_group), OPTION_STRING},
	{"instance-size", "AZURE_INSTANCE_SIZE", "Standard_DC2as_v5",
		"size where the pod asks for nothing", AT(size), OPTION_STRING, .required = true},
	{"instance-sizes", "AZURE_INSTANCE_SIZES", "",
		"sizes that may be used, comma-separated; empty: the default one only", AT(sizes),
		OPTION_STRING},
	{"zone", "AZURE_ZONES", "",
		"availability zones, comma-separated: where one has no capacity the next is tried; empty: Azure "
		"chooses",
		AT(zones), OPTION_STRING},
	{"subnetid", "AZURE_SUBNET_ID", "",
		"id of the subnet; several, comma-separated: where one is full the next is tried",
		AT(subnets), OPTION_STRING, .required = true},
	{"securitygroupid", "AZURE_NSG_ID", "", "id of the network security group of the NICs",
		AT(security_group), OPTION_STRING},
	{"imageid", "AZURE_IMAGE_ID", "", "image of the pod VMs", AT(image), OPTION_STRING,
		.required = true},
	{"ssh-key-path", NULL, "",
		"public key file for ssh; variables in it are expanded; empty: a key that nobody has",
		AT(ssh_key_path), OPTION_STRING},
	{"ssh-username", "SSH_USERNAME", "peerpod", "admin user of the pod VMs", AT(ssh_user),
		OPTION_STRING, .required = true},
	{"disable-cvm", "DISABLECVM", "false", "no confidential VMs unless the pod asks for one",
		AT(disable_cvm), OPTION_BOOL},
	{"enable-secure-boot", "ENABLE_SECURE_BOOT", "false",
		"confidential VMs boot only what is signed", AT(secure_boot), OPTION_BOOL},
	{"use-public-ip", "USE_PUBLIC_IP", "false", "reach the pod VMs on public addresses",
		AT(public_ip), OPTION_BOOL},
	{"root-volume-size", "ROOT_VOLUME_SIZE", "0", "GiB of the OS disk; 0: as the image says",
		AT(root_volume_gib), OPTION_INT, .min = 0, .max = 4095},
	{"tags", "TAGS", "", "tags of all that is made: k=v,k2=v2", AT(tags), OPTION_STRING},

	{NULL, "AZURE_FEDERATED_TOKEN_FILE", "",
		"file with the workload identity's token, read again for each request",
		AT(token_file), OPTION_STRING},
	{NULL, "AZURE_AUTHORITY_HOST", "",
		"where tokens come from, which tells the cloud; empty: https://login.microsoftonline.com",
		AT(authority), OPTION_STRING},
	{NULL, "AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://169.254.169.254",
		"URL of the instance metadata service", AT(imds), OPTION_STRING, .required = true},

	{"credential", "AZURE_CREDENTIAL", "",
		"which credential to use; empty: the first that is configured", AT(credential),
		OPTION_ENUM, .choices = credential_kinds},
	{NULL, "AZURE_RESOURCE_MANAGER_ENDPOINT", "",
		"URL of Azure Resource Manager; empty: that of the authority's cloud",
		AT(arm_endpoint), OPTION_STRING},
	{NULL, "AZURE_RESOURCE_MANAGER_AUDIENCE", "",
		"what tokens are asked for; empty: the cloud's own", AT(arm_audience),
		OPTION_STRING},
	{NULL, "AZURE_CA_BUNDLE", "", "certificates to trust; empty: the system's", AT(ca_bundle),
		OPTION_STRING},
	{"os-disk-type", "AZURE_OS_DISK_TYPE", "Premium_LRS", "storage of the OS disk",
		AT(os_disk_type), OPTION_ENUM, .choices = disk_types},
	{"os-disk-ephemeral", "AZURE_OS_DISK_EPHEMERAL", "",
		"keep the OS disk on the host, in this place; empty: a managed disk",
		AT(os_disk_ephemeral), OPTION_ENUM, .choices = ephemeral_places},
	{"disk-encryption", "AZURE_DISK_ENCRYPTION", ENCRYPT_GUEST_STATE,
		"what of a confidential VM's OS disk is encrypted with its own keys",
		AT(disk_encryption), OPTION_ENUM, .choices = encryptions},
	{"disk-encryption-set", "AZURE_DISK_ENCRYPTION_SET_ID", "",
		"id of the set whose key encrypts the OS disk; empty: Microsoft's key",
		AT(disk_encryption_set), OPTION_STRING},
	{"vm-identities", "AZURE_VM_IDENTITY_IDS", "",
		"ids of user-assigned identities that the pod VMs get, comma-separated",
		AT(identities), OPTION_STRING},
	{"second-subnetid", "AZURE_SECOND_SUBNET_ID", "",
		"id of the subnet of the second NIC, where a pod has one; empty: that of the first",
		AT(second_subnet), OPTION_STRING},
	{"catalogue-folder", "AZURE_CATALOGUE_FOLDER", CATALOGUE_FOLDER,
		"where the list of sizes is kept for when Azure cannot be asked; empty: nowhere",
		AT(catalogue_folder), OPTION_STRING},
	{"prices", "AZURE_PRICES", "",
		"file with prices; empty: the one that comes with the driver", AT(prices),
		OPTION_STRING},
	{"encryption-at-host", "AZURE_ENCRYPTION_AT_HOST", "false",
		"encrypt the host's caches and temporary disks", AT(encryption_at_host),
		OPTION_BOOL},
	{"spot", "AZURE_SPOT", "false",
		"spot VMs, cheaper and taken away at any time, for pods that do not say; prefer: on-demand where "
		"there is no spot capacity",
		AT(spot), OPTION_ENUM, .choices = spot_choices},
	{"accelerated-networking", "AZURE_ACCELERATED_NETWORKING", "false",
		"give NICs a path past the host's switch", AT(accelerated_networking), OPTION_BOOL},
	{"boot-diagnostics", "AZURE_BOOT_DIAGNOSTICS", "false",
		"keep the console of the pod VMs, which Microsoft can read", AT(boot_diagnostics),
		OPTION_BOOL},
};

int tags_next(const char **text, char **key, char **value, struct error *err)
{
	cleanup(free_ptr) char *k = NULL, *v = NULL;
	int more = pairs_next("TAGS", text, &k, &v, err);
	if (more <= 0)
		return more;
	if (!*k || strlen(k) > TAG_KEY_MAX || strlen(v) > TAG_VALUE_MAX)
		return error_set(err, ERROR_INVALID,
			"TAGS: \"%s\": a name has 1 to %d characters, a value at most %d", k,
			TAG_KEY_MAX, TAG_VALUE_MAX);
	if (strpbrk(k, "<>%&\\?/"))
		return error_set(err, ERROR_INVALID,
			"TAGS: \"%s\": a name has none of < > %% & \\ ? /", k);
	if (!strncasecmp(k, TAG_PREFIX, strlen(TAG_PREFIX)))
		return error_set(err, ERROR_INVALID,
			"TAGS: \"%s\" is set by the driver itself: choose another name", k);
	static const char *const reserved[] = {"microsoft", "azure", "windows"};
	for (size_t i = 0; i < array_size(reserved); i++) {
		if (!strncasecmp(k, reserved[i], strlen(reserved[i])))
			return error_set(err, ERROR_INVALID,
				"TAGS: \"%s\": names that start with %s are Microsoft's", k,
				reserved[i]);
	}
	*key = take_ptr(k);
	*value = take_ptr(v);
	return 1;
}

/* Becomes part of a URL's path. Empty: it is looked up (place.h). */
static int name_check(const char *text, const char *variable, const char *like, struct error *err)
{
	if (!*text || is_arm_name(text))
		return 0;
	return error_set(err, ERROR_INVALID, "%s: \"%.100s\" is no such name: they look like %s",
		variable, text, like);
}

static int subnets_check(const char *text, const char *variable, size_t min, size_t max,
	struct error *err)
{
	cleanup_list list = list_split(text);
	if (!list)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	if (list_count(list) < min || list_count(list) > max)
		return error_set(err, ERROR_INVALID, "%s: it names %zu subnets, not %zu to %zu",
			variable, list_count(list), min, max);
	for (char **one = list; *one; one++) {
		if (arm_subnet_check(variable, *one, err) < 0)
			return -1;
	}
	return 0;
}

static int identities_check(const char *text, struct error *err)
{
	cleanup_list list = list_split(text);
	struct arm_id id;
	if (!list)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	for (char **one = list; *one; one++) {
		if (arm_id_parse("AZURE_VM_IDENTITY_IDS", *one, KIND_IDENTITY, &id, err) < 0)
			return -1;
	}
	return 0;
}

static int zones_check(const char *text, struct error *err)
{
	cleanup_list list = list_split(text);
	if (!list)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	for (char **one = list; *one; one++) {
		if (strspn(*one, "0123456789") != strlen(*one) || strlen(*one) > 2)
			return error_set(err, ERROR_INVALID,
				"-zone: \"%.20s\" is no availability zone: they are numbers, as in 1,2,3",
				*one);
	}
	return 0;
}

/* Azure's Linux VMs: 1 to 64 characters, and some names that it keeps for itself. */
static int user_check(const char *user, struct error *err)
{
	static const char *const refused[] = {"root", "admin", "administrator", "user", "guest",
		"test", "console", "sys", "support", "server"};
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	size_t len = strlen(user);
	bool good = len <= 64 && strspn(user, allowed) == len && !strchr("-.0123456789", *user);
	for (size_t i = 0; i < array_size(refused); i++)
		good = good && strcasecmp(user, refused[i]) != 0;
	return good ? 0
		    : error_set(err, ERROR_INVALID,
			      "SSH_USERNAME: Azure takes no admin user with the name \"%.70s\"",
			      user);
}

static int credential_check(const struct azure_options *o, struct error *err)
{
	bool secret = !strcmp(o->credential, "secret") ||
		      (!*o->credential && !secret_is_empty(&o->client_secret));
	bool workload = !strcmp(o->credential, "workload") ||
			(!*o->credential && !secret && *o->token_file);
	const char *why = secret ? "AZURE_CLIENT_SECRET" : "AZURE_FEDERATED_TOKEN_FILE";
	if (!secret && !workload)
		return 0;
	if (secret && secret_is_empty(&o->client_secret))
		return error_set(err, ERROR_INVALID,
			"AZURE_CREDENTIAL=secret needs AZURE_CLIENT_SECRET");
	if (workload && !*o->token_file)
		return error_set(err, ERROR_INVALID,
			"AZURE_CREDENTIAL=workload needs AZURE_FEDERATED_TOKEN_FILE: give the pods the label "
			"azure.workload.identity/use=true");
	if (secret_is_empty(&o->client_id))
		return error_set(err, ERROR_INVALID, "%s needs AZURE_CLIENT_ID", why);
	if (secret_is_empty(&o->tenant_id))
		return error_set(err, ERROR_INVALID, "%s needs AZURE_TENANT_ID", why);
	if (!is_arm_name(secret_reveal(&o->tenant_id)))
		return error_set(err, ERROR_INVALID,
			"AZURE_TENANT_ID is no tenant: they look like "
			"01234567-89ab-cdef-0123-456789abcdef or contoso.onmicrosoft.com");
	return 0;
}

/* What Azure refuses in one VM, before it is asked. */
static int together_check(const struct azure_options *o, struct error *err)
{
	bool disk = !strcmp(o->disk_encryption, ENCRYPT_DISK);
	struct arm_id id;
	if (disk && !o->secure_boot)
		return error_set(err, ERROR_INVALID,
			"AZURE_DISK_ENCRYPTION=" ENCRYPT_DISK " needs ENABLE_SECURE_BOOT=true");
	if (disk && *o->os_disk_ephemeral)
		return error_set(err, ERROR_INVALID,
			"AZURE_DISK_ENCRYPTION=" ENCRYPT_DISK
			" and AZURE_OS_DISK_EPHEMERAL exclude each other");
	if (*o->disk_encryption_set && arm_id_parse("AZURE_DISK_ENCRYPTION_SET_ID",
					       o->disk_encryption_set, KIND_DES, &id, err) < 0)
		return -1;
	if (*o->security_group &&
		arm_id_parse("AZURE_NSG_ID", o->security_group, KIND_NSG, &id, err) < 0)
		return -1;
	if (*o->disk_encryption_set && *o->os_disk_ephemeral)
		return error_set(err, ERROR_INVALID,
			"AZURE_DISK_ENCRYPTION_SET_ID and AZURE_OS_DISK_EPHEMERAL exclude each other");
	return 0;
}

void azure_options_markets(const struct azure_options *o, enum instance_market market, bool *spot,
	bool *on_demand)
{
	bool ours = market == MARKET_DEFAULT;
	*spot = ours ? strcmp(o->spot, "false") != 0 : market == MARKET_SPOT;
	*on_demand = !*spot || (ours && !strcmp(o->spot, "prefer"));
}

int azure_options_check(const struct azure_options *o, struct error *err)
{
	enum image_form form;
	struct cloud cloud;
	if (name_check(o->subscription, "AZURE_SUBSCRIPTION_ID",
		    "01234567-89ab-cdef-0123-456789abcdef", err) < 0 ||
		name_check(o->region, "AZURE_REGION", "eastus", err) < 0 ||
		name_check(o->resource_group, "AZURE_RESOURCE_GROUP", "my-group", err) < 0 ||
		name_check(o->size, "AZURE_INSTANCE_SIZE", "Standard_DC2as_v5", err) < 0 ||
		subnets_check(o->subnets, "AZURE_SUBNET_ID", 1, SUBNETS_MAX, err) < 0 ||
		subnets_check(o->second_subnet, "AZURE_SECOND_SUBNET_ID", 0, 1, err) < 0 ||
		image_form_of("AZURE_IMAGE_ID", o->image, &form, err) < 0 ||
		identities_check(o->identities, err) < 0 || zones_check(o->zones, err) < 0 ||
		user_check(o->ssh_user, err) < 0 || credential_check(o, err) < 0 ||
		together_check(o, err) < 0 || cloud_of(o, &cloud, err) < 0)
		return -1;
	if (strncmp(o->imds, "http://", 7) != 0 && strncmp(o->imds, "https://", 8) != 0)
		return error_set(err, ERROR_INVALID,
			"AZURE_POD_IDENTITY_AUTHORITY_HOST: \"%.200s\" must start with http:// or https://",
			o->imds);
	return pairs_check("TAGS", o->tags, tags_next, TAGS_OF_OPERATOR_MAX, "tags", err);
}
