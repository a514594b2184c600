/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - see options.h */
#include "providers/gcp/options.h"

#include <string.h>

#include "base/cleanup.h"
#include "providers/choice/catalogue_file.h"
#include "providers/gcp/family.h"
#include "providers/gcp/names.h"

static const char *const confidential_types[] = {"", "TDX", "SEV", "SEV_SNP", NULL};
static const char *const spot_choices[] = {"false", "true", "prefer", NULL};
static const char *const network_tiers[] = {"STANDARD", "PREMIUM", NULL};
static const char *const nic_types[] = {"", "GVNIC", "VIRTIO_NET", NULL};
static const char *const disk_interfaces[] = {"", "NVME", "SCSI", NULL};

/* 64 labels of a resource, less ours. */
#define LABELS_MAX 56
#define TAGS_MAX 50

#define AT(member) offsetof(struct gcp_options, member)

const struct option gcp_option_table[GCP_OPTION_COUNT] = {
	{"gcp-credentials", "GCP_CREDENTIALS", "",
		"credentials as JSON, the text itself; empty: the file of GOOGLE_APPLICATION_CREDENTIALS, else the "
		"metadata server",
		AT(credentials), OPTION_SECRET},
	{"gcp-project-id", "GCP_PROJECT_ID", "",
		"project; empty: that of the credentials, or of this instance where the metadata server gives them",
		AT(project), OPTION_STRING},
	{"zone", "GCP_ZONE", "",
		"zone; several, comma-separated: where one has no capacity the next is tried; empty: that of this "
		"instance where the metadata server gives the credentials",
		AT(zone), OPTION_STRING},
	{"image-name", "PODVM_IMAGE_NAME", "",
		"image of the pod VMs: a name, projects/P/global/images/N, or .../images/family/F",
		AT(image), OPTION_STRING, .required = true},
	{"machine-type", "GCP_MACHINE_TYPE", "e2-medium",
		"machine type where the pod asks for nothing; e2-medium cannot be confidential: where it has to be, "
		"n2d-standard-2 or c3-standard-4 takes its place",
		AT(machine_type), OPTION_STRING, .required = true},
	{"machine-types", "GCP_INSTANCE_TYPES", "",
		"machine types that may be used, comma-separated; empty: the default one only",
		AT(machine_types), OPTION_STRING},
	{"network", "GCP_NETWORK", "",
		"VPC network: a name or global/networks/N; empty: the subnetwork's, or that of this instance where "
		"the metadata server gives the credentials",
		AT(network), OPTION_STRING},
	{"subnetwork", "GCP_SUBNETWORK", "", "subnetwork; needed in networks of custom mode",
		AT(subnetwork), OPTION_STRING},
	{"disk-type", "GCP_DISK_TYPE", "pd-standard",
		"type of the boot disk; a machine type that does not take pd-standard gets the simplest it takes",
		AT(disk_type), OPTION_STRING, .required = true},
	{"disable-cvm", "DISABLECVM", "false", "no confidential VM unless the pod asks for it",
		AT(disable_cvm), OPTION_BOOL},
	{"confidential-type", "GCP_CONFIDENTIAL_TYPE", "",
		"what protects the pod VMs; needed unless DISABLECVM=true", AT(confidential_type),
		OPTION_ENUM, .choices = confidential_types},
	{"root-volume-size", "ROOT_VOLUME_SIZE", "10", "GiB of the boot disk, at least the image's",
		AT(root_volume_gib), OPTION_INT, .min = 0, .max = 65536},
	{"use-public-ip", "USE_PUBLIC_IP", "false", "reach the pod VMs on public addresses",
		AT(use_public_ip), OPTION_BOOL},
	{"tags", "TAGS", "",
		"Resource Manager tags of the instances, which must exist: key=value, tagKeys/1=tagValues/2",
		AT(tags), OPTION_STRING},

	{NULL, "GOOGLE_APPLICATION_CREDENTIALS", "", "file with credentials as JSON",
		AT(credentials_file), OPTION_STRING},
	{NULL, "GCE_METADATA_HOST", "",
		"host, or host:port, of the metadata server; empty: metadata.google.internal",
		AT(metadata_host), OPTION_STRING},
	{NULL, "GOOGLE_CLOUD_QUOTA_PROJECT", "",
		"project that calls are counted for; empty: as the credentials say",
		AT(quota_project), OPTION_STRING},

	{"network-tags", "GCP_NETWORK_TAGS", "",
		"network tags of the instances, comma-separated, for firewall rules",
		AT(network_tags), OPTION_STRING},
	{"labels", "GCP_LABELS", "", "labels of instances and disks: k=v,k2=v2", AT(labels),
		OPTION_STRING},
	{"second-network", "GCP_SECOND_NETWORK", "",
		"VPC network of the second interface of pods that need two", AT(second_network),
		OPTION_STRING},
	{"second-subnetwork", "GCP_SECOND_SUBNETWORK", "", "its subnetwork", AT(second_subnetwork),
		OPTION_STRING},
	{"network-tier", "GCP_NETWORK_TIER", "STANDARD", "network tier of public addresses",
		AT(network_tier), OPTION_ENUM, .choices = network_tiers},
	{"nic-type", "GCP_NIC_TYPE", "", "kind of interface; empty: the cloud's choice",
		AT(nic_type), OPTION_ENUM, .choices = nic_types},
	{"min-cpu-platform", "GCP_MIN_CPU_PLATFORM", "",
		"oldest CPU platform; empty: AMD Milan for SEV_SNP, else the cloud's choice",
		AT(min_cpu_platform), OPTION_STRING},
	{"disk-interface", "GCP_DISK_INTERFACE", "",
		"interface of the boot disk; empty: the cloud's choice", AT(disk_interface),
		OPTION_ENUM, .choices = disk_interfaces},
	{"disk-kms-key", "GCP_DISK_KMS_KEY", "",
		"key of the boot disk: projects/P/locations/L/keyRings/R/cryptoKeys/K; empty: Google's",
		AT(kms_key), OPTION_STRING},
	{"accelerator-type", "GCP_ACCELERATOR_TYPE", "",
		"GPU that is attached to n1 machine types where a pod asks for GPUs: nvidia-tesla-t4",
		AT(accelerator_type), OPTION_STRING},
	{"spot", "GCP_SPOT", "false",
		"spot instances, cheaper and taken away at any time, for pods that do not say; prefer: on-demand where "
		"there is no spot capacity",
		AT(spot), OPTION_ENUM, .choices = spot_choices},
	{"secure-boot", "GCP_SECURE_BOOT", "false", "secure boot; the image must be signed",
		AT(secure_boot), OPTION_BOOL},
	{"vtpm", "GCP_VTPM", "true", "a virtual TPM", AT(vtpm), OPTION_BOOL},
	{"integrity-monitoring", "GCP_INTEGRITY_MONITORING", "true",
		"the cloud compares boot measurements; needs the virtual TPM",
		AT(integrity_monitoring), OPTION_BOOL},
	{"max-run", "GCP_MAX_RUN", "0",
		"instances are deleted by the cloud after this time, whatever happens; 0: never",
		AT(max_run_ns), OPTION_DURATION},
	{"create-rate", "GCP_CREATE_RATE", "5", "creations a second that this node asks for",
		AT(create_rate), OPTION_INT, .min = 1, .max = 100},
	{"prices", "GCP_PRICES", "",
		"file with prices instead of the one that comes with the driver", AT(prices),
		OPTION_STRING},
	{"catalogue-folder", "GCP_CATALOGUE_FOLDER", CATALOGUE_FOLDER,
		"where machine types are remembered for when Google cannot be asked; empty: nowhere",
		AT(catalogue_folder), OPTION_STRING},
	{NULL, "GCP_COMPUTE_ENDPOINT", "", "URL of Compute Engine instead of Google's",
		AT(compute_endpoint), OPTION_STRING},
	{NULL, "GCP_RESOURCE_MANAGER_ENDPOINT", "", "URL of Resource Manager instead of Google's",
		AT(manager_endpoint), OPTION_STRING},
};

enum instance_tee gcp_options_tee(const struct gcp_options *o)
{
	if (o->disable_cvm)
		return TEE_NONE;
	return family_tee(o->confidential_type);
}

void gcp_options_market(const struct gcp_options *o, enum instance_market market, bool *spot,
	bool *on_demand)
{
	bool says_spot = strcmp(o->spot, "false") != 0;
	*spot = market == MARKET_SPOT || (market == MARKET_DEFAULT && says_spot);
	*on_demand = !*spot || (market == MARKET_DEFAULT && !strcmp(o->spot, "prefer"));
}

int url_check(const char *what, const char *url, struct error *err)
{
	if (!*url || !strncmp(url, "https://", 8))
		return 0;
	static const char *const here[] = {"http://127.0.0.1", "http://localhost", "http://[::1]"};
	for (size_t i = 0; i < array_size(here); i++) {
		size_t len = strlen(here[i]);
		if (!strncmp(url, here[i], len) && (!url[len] || strchr(":/", url[len])))
			return 0;
	}
	return error_set(err, ERROR_INVALID,
		"%s: \"%.200s\" must start with https:// (http:// is for this machine alone)", what,
		url);
}

int labels_next(const char **text, char **key, char **value, struct error *err)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
	cleanup(free_ptr) char *k = NULL, *v = NULL;
	int more = pairs_next("GCP_LABELS", text, &k, &v, err);
	if (more <= 0)
		return more;
	if (*k < 'a' || *k > 'z' || strlen(k) > 63 || strspn(k, letters) != strlen(k))
		return error_set(err, ERROR_INVALID,
			"GCP_LABELS: \"%s\": a key starts with a letter and has at most 63 of a-z, 0-9, _ and -",
			k);
	if (strlen(v) > 63 || strspn(v, letters) != strlen(v))
		return error_set(err, ERROR_INVALID,
			"GCP_LABELS: \"%s\": a value has at most 63 of a-z, 0-9, _ and -", v);
	if (!strncmp(k, LABEL_PREFIX, strlen(LABEL_PREFIX)))
		return error_set(err, ERROR_INVALID,
			"GCP_LABELS: \"%s\" is set by the driver itself: choose another key", k);
	*key = take_ptr(k);
	*value = take_ptr(v);
	return 1;
}

/* One of Resource Manager's tags, by names or by ids. */
static int tag_next(const char **text, char **key, char **value, struct error *err)
{
	cleanup(free_ptr) char *k = NULL, *v = NULL;
	int more = pairs_next("TAGS", text, &k, &v, err);
	if (more <= 0)
		return more;
	if (!*k || !*v)
		return error_set(err, ERROR_INVALID,
			"TAGS: a tag has a key and a value: key=value");
	bool key_id = !strncmp(k, "tagKeys/", 8), value_id = !strncmp(v, "tagValues/", 10);
	if (key_id != value_id)
		return error_set(err, ERROR_INVALID,
			"TAGS: \"%s=%s\": names and ids cannot be mixed: key=value or "
			"tagKeys/1=tagValues/2",
			k, v);
	*key = take_ptr(k);
	*value = take_ptr(v);
	return 1;
}

static int zones_check(const struct gcp_options *o, struct error *err)
{
	cleanup_list zones = list_split(o->zone);
	cleanup(free_ptr) char *path = NULL;
	if (!zones)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	if (*o->zone && !zones[0])
		return error_set(err, ERROR_INVALID, "GCP_ZONE: \"%s\" names no zone", o->zone);
	for (char **z = zones; *z; z++) {
		if (zone_check("GCP_ZONE", *z, err) < 0)
			return -1;
		free(take_ptr(path));
		path = subnetwork_path("p", *z, o->subnetwork);
		char region[ZONE_SIZE];
		const char *at = path ? strstr(path, "regions/") : NULL;
		zone_region(*z, region);
		size_t len = strlen(region);
		if (*o->subnetwork && at && (strncmp(at + 8, region, len) || at[8 + len] != '/'))
			return error_set(err, ERROR_INVALID,
				"GCP_SUBNETWORK: \"%s\" is not in the region of zone %s: with zones of several "
				"regions give the bare name that the subnetwork has in each",
				o->subnetwork, *z);
	}
	return 0;
}

/* The types that may be used: can any of them do what is asked for? */
static int types_check(const struct gcp_options *o, struct error *err)
{
	enum instance_tee tee = gcp_options_tee(o);
	const char *variable = *o->machine_types ? "GCP_INSTANCE_TYPES" : "GCP_MACHINE_TYPE";
	const char *text = *o->machine_types ? o->machine_types : o->machine_type;
	cleanup_list types = list_split(text);
	bool any = false;
	if (!types)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	for (char **t = types; *t; t++) {
		if (!name_is_plain(*t))
			return error_set(err, ERROR_INVALID,
				"%s: \"%s\" is no machine type: they look like n2d-standard-2",
				variable, *t);
		any |= tee == TEE_NONE || family_can(*t, tee);
	}
	if (!name_is_plain(o->machine_type))
		return error_set(err, ERROR_INVALID,
			"GCP_MACHINE_TYPE: \"%s\" is no machine type: they look like n2d-standard-2",
			o->machine_type);
	/* e2-medium is what nobody asked for: family_default takes its place. */
	if (any || (!*o->machine_types && !strcmp(o->machine_type, TYPE_OF_UPSTREAM)))
		return 0;
	return error_set(err, ERROR_INVALID,
		"%s: %s cannot be a confidential VM of type %s: use %s, or set DISABLECVM=true",
		variable, text, o->confidential_type, family_advice(tee));
}

int gcp_options_check(const struct gcp_options *o, struct error *err)
{
	cleanup(free_ptr) char *image = image_path("p", o->image, err);
	cleanup_list tags = list_split(o->network_tags);
	if (!image)
		return error_prefix(err, "PODVM_IMAGE_NAME");
	if (!o->disable_cvm && !*o->confidential_type)
		return error_set(err, ERROR_INVALID,
			"GCP_CONFIDENTIAL_TYPE is not set: TDX, SEV or SEV_SNP, or set DISABLECVM=true for ordinary VMs");
	if (*o->project && !project_is_plain(o->project))
		return error_set(err, ERROR_INVALID,
			"GCP_PROJECT_ID: \"%s\" is no project id: they look like my-project-123",
			o->project);
	if (zones_check(o, err) < 0 || types_check(o, err) < 0)
		return -1;
	const struct {
		const char *variable, *value;
	} paths[] = {
		{"GCP_NETWORK", o->network},
		{"GCP_SUBNETWORK", o->subnetwork},
		{"GCP_SECOND_NETWORK", o->second_network},
		{"GCP_SECOND_SUBNETWORK", o->second_subnetwork},
		{"GCP_DISK_TYPE", o->disk_type},
		{"GCP_DISK_KMS_KEY", o->kms_key},
		{"GCP_ACCELERATOR_TYPE", o->accelerator_type},
	};
	for (size_t i = 0; i < array_size(paths); i++) {
		if (*paths[i].value && !path_is_plain(paths[i].value))
			return error_set(err, ERROR_INVALID,
				"%s: \"%s\" holds characters that no name of a resource has",
				paths[i].variable, paths[i].value);
	}
	for (char **t = tags; t && *t; t++) {
		if (!name_is_plain(*t))
			return error_set(err, ERROR_INVALID,
				"GCP_NETWORK_TAGS: \"%s\": a tag starts with a letter and has at most 63 of a-z, 0-9 and -",
				*t);
	}
	if (*o->second_subnetwork && !*o->second_network)
		return error_set(err, ERROR_INVALID,
			"GCP_SECOND_SUBNETWORK needs GCP_SECOND_NETWORK");
	if (o->integrity_monitoring && !o->vtpm)
		return error_set(err, ERROR_INVALID,
			"GCP_VTPM=false needs GCP_INTEGRITY_MONITORING=false");
	if (o->max_run_ns && o->max_run_ns < 30 * NS_PER_S)
		return error_set(err, ERROR_INVALID, "GCP_MAX_RUN: at least 30s, or 0");
	if (url_check("GCP_COMPUTE_ENDPOINT", o->compute_endpoint, err) < 0 ||
		url_check("GCP_RESOURCE_MANAGER_ENDPOINT", o->manager_endpoint, err) < 0 ||
		pairs_check("GCP_LABELS", o->labels, labels_next, LABELS_MAX, "labels", err) < 0)
		return -1;
	return pairs_check("TAGS", o->tags, tag_next, TAGS_MAX, "tags", err);
}
