/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - the configuration against the cloud, without making anything; see driver.h
 *
 * A table of looks, each adding its rows. Without credentials or a project nothing else can be found out.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "providers/gcp/driver.h"
#include "providers/gcp/family.h"

#define ROLE_ADVICE "compare the role with docs/providers/gcp-role.json"

const char *const gcp_permissions[] = {
	"compute.diskTypes.get",
	"compute.disks.create",
	"compute.disks.delete",
	"compute.disks.get",
	"compute.disks.list",
	"compute.disks.setLabels",
	"compute.disks.use",
	"compute.images.get",
	"compute.images.getFromFamily",
	"compute.images.useReadOnly",
	"compute.instances.create",
	"compute.instances.delete",
	"compute.instances.get",
	"compute.instances.getSerialPortOutput",
	"compute.instances.list",
	"compute.instances.setLabels",
	"compute.instances.setMetadata",
	"compute.instances.setTags",
	"compute.machineTypes.get",
	"compute.machineTypes.list",
	"compute.networks.get",
	"compute.networks.use",
	"compute.networks.useExternalIp",
	"compute.projects.get",
	"compute.regions.get",
	"compute.subnetworks.get",
	"compute.subnetworks.use",
	"compute.subnetworks.useExternalIp",
	"compute.zoneOperations.get",
	"compute.zoneOperations.list",
	"compute.zones.get",
	NULL,
};

/* Besides, where TAGS is set. */
static const char *const tag_permissions[] = {
	"compute.instances.createTagBinding",
	"resourcemanager.tagKeys.list",
	"resourcemanager.tagValues.list",
	"resourcemanager.tagValueBindings.create",
	NULL,
};

struct look {
	struct provider *p;
	const struct gcp_options *o;
	struct location at;
	enum instance_tee tee;
	struct check_report *report;
	const struct bound *bound;
	struct image_facts image;
	char *default_type;
	int64_t vcpus; /* of the default type; 0: not known */
};

/* GET of a path under projects/P/; NULL after a row that says why. */
static json_t *get(struct look *l, const char *row, const char *remedy, const char *what,
	const char *path)
{
	cleanup_error why = ERROR_INIT;
	json_t *reply = NULL;
	if (compute_get(l->p->compute, what, path, &reply, l->bound, &why) == 0)
		return reply;
	if (why.kind == ERROR_GONE)
		why.kind = ERROR_INVALID;
	check_failure(l->report, row, why.kind == ERROR_DENIED ? ROLE_ADVICE : remedy, &why);
	return NULL;
}

/* ---- zones and machine types ------------------------------------------------------------------------------- */

static void look_at_zones(struct look *l)
{
	const char *platform = *l->o->min_cpu_platform ? l->o->min_cpu_platform
			       : l->tee == TEE_SNP     ? "AMD Milan"
						       : "";
	for (char *const *z = l->at.zones; *z; z++) {
		cleanup(free_ptr) char *path =
			path_format("projects/%s/zones/%s", l->at.project, *z);
		cleanup_json *zone =
			path ? get(l, "GCP_ZONE",
				       "gcloud compute zones list shows those that there are",
				       "zones.get", path)
			     : NULL;
		const char *status = json_string_value(json_object_get(zone, "status"));
		const json_t *platforms = json_object_get(zone, "availableCpuPlatforms");
		size_t i;
		json_t *one;
		bool has = !*platform || !json_array_size(platforms);
		json_array_foreach(platforms, i, one)
		{
			has |= json_is_string(one) && !strcmp(json_string_value(one), platform);
		}
		if (!zone)
			continue;
		if (status && strcmp(status, "UP") != 0)
			check_wrong(l->report, ERROR_INVALID, "GCP_ZONE", "take another zone",
				"%s is %s", *z, status);
		else if (!has)
			check_wrong(l->report, ERROR_INVALID, "GCP_ZONE",
				"take another zone, or another GCP_MIN_CPU_PLATFORM",
				"%s has no CPU platform %s", *z, platform);
		else
			check_right(l->report, "GCP_ZONE", "%s", *z);
	}
}

static void look_at_type(struct look *l, const char *type, const struct offering *list,
	size_t count)
{
	const struct offering *found = NULL;
	size_t zones = 0;
	for (size_t i = 0; i < count; i++) {
		if (strcmp(list[i].type, type) != 0 || list[i].unfit)
			continue;
		found = &list[i];
		zones++;
	}
	if (!found) {
		check_wrong(l->report, ERROR_INVALID, "machine types",
			"gcloud compute machine-types list --zones shows those that there are",
			"%s: the zones have none for an image of architecture %s", type,
			l->image.architecture ? l->image.architecture : "X86_64");
		return;
	}
	if (!strcmp(type, l->default_type))
		l->vcpus = found->vcpus;
	if (l->tee != TEE_NONE && !family_can(type, l->tee))
		check_wrong(l->report, ERROR_INVALID, "machine types",
			"take another, or set DISABLECVM=true",
			"%s cannot be a confidential VM of type %s: %s can", type,
			family_tee_name(l->tee), family_advice(l->tee));
	else if (!found->vcpus)
		check_unknown(l->report, "machine types", "%s", type);
	else
		check_right(l->report, "machine types",
			"%s: %lld vCPU, %lld MiB, in %zu of %zu zones, boot disk %s", type,
			(long long)found->vcpus, (long long)found->memory_mib, zones,
			list_count(l->at.zones), family_disk(type, l->o->disk_type));
}

static void look_at_types(struct look *l)
{
	cleanup_error why = ERROR_INIT;
	cleanup(free_ptr) struct offering *list = NULL;
	cleanup_list types =
		list_split(*l->o->machine_types ? l->o->machine_types : l->default_type);
	size_t count = 0;
	if (!types)
		return;
	const struct catalogue_wish wish = {.project = l->at.project,
		.zones = l->at.zones,
		.types = types,
		.architecture = l->image.architecture,
		.on_demand = true};
	if (catalogue_offerings(l->p->catalogue, &wish, &list, &count, l->bound, &why) < 0) {
		check_failure(l->report, "machine types", NULL, &why);
		return;
	}
	if (!list_holds(types, l->default_type))
		check_note(l->report, "machine types",
			"%s, the default, is not in GCP_INSTANCE_TYPES: pods that ask for nothing are refused",
			l->default_type);
	for (char **t = types; *t; t++)
		look_at_type(l, *t, list, count);
}

static void look_at_disks(struct look *l)
{
	const char *disk = path_last(family_disk(l->default_type, l->o->disk_type));
	for (char *const *z = l->at.zones; *z; z++) {
		cleanup(free_ptr) char *path =
			path_format("projects/%s/zones/%s/diskTypes/%s", l->at.project, *z, disk);
		cleanup_json *type =
			path ? get(l, "GCP_DISK_TYPE",
				       "gcloud compute disk-types list shows those that there are",
				       "diskTypes.get", path)
			     : NULL;
		if (type)
			check_right(l->report, "GCP_DISK_TYPE", "%s in %s", disk, *z);
	}
}

/* ---- image and networks ------------------------------------------------------------------------------------ */

static void look_at_image(struct look *l)
{
	cleanup_error why = ERROR_INIT;
	cleanup(free_ptr) char *path = image_path(l->at.project, l->o->image, &why);
	if (!path || image_look(l->p->images, path, &l->image, l->bound, &why) < 0 ||
		image_check(&l->image, l->tee, &why) < 0)
		check_failure(l->report, "PODVM_IMAGE_NAME",
			why.kind == ERROR_GONE
				? "gcloud compute images list shows those that there are"
				: NULL,
			&why);
	else
		check_right(l->report, "PODVM_IMAGE_NAME", "%s, %s, %lld GiB", l->image.path,
			l->image.architecture ? l->image.architecture : "X86_64",
			(long long)l->image.disk_gib);
}

static bool look_at_subnetwork(struct look *l, const char *row, const char *subnetwork,
	const char *network, const char *zone)
{
	cleanup(free_ptr) char *path = subnetwork_path(l->at.project, zone, subnetwork);
	cleanup_json *found =
		path ? get(l, row,
			       "gcloud compute networks subnets list shows those that there are",
			       "subnetworks.get", path)
		     : NULL;
	const char *in = json_string_value(json_object_get(found, "network"));
	const char *stack = json_string_value(json_object_get(found, "stackType"));
	if (!found)
		return false;
	if (*network && in && strcmp(path_last(in), path_last(network)) != 0)
		check_wrong(l->report, ERROR_INVALID, row, "take one of the network",
			"%s is in network %s, not in %s", path, path_last(in), path_last(network));
	else if (stack && !strcmp(stack, "IPV6_ONLY"))
		check_wrong(l->report, ERROR_INVALID, row, "take one with IPv4", "%s has no IPv4",
			path);
	else
		check_right(l->report, row, "%s", path);
	return true;
}

static void look_at_network(struct look *l, const char *row, const char *network,
	const char *subnetwork_row, const char *subnetwork)
{
	if (*network) {
		char project[128];
		bool whole = path_part(network, "projects", project, sizeof(project));
		cleanup(free_ptr) char *path =
			whole ? strdup(network)
			      : path_format("projects/%s/%s", l->at.project, network);
		cleanup_json *found =
			path ? get(l, row,
				       "gcloud compute networks list shows those that there are",
				       "networks.get", path)
			     : NULL;
		bool custom =
			found && !json_is_true(json_object_get(found, "autoCreateSubnetworks"));
		if (found && custom && !*subnetwork)
			check_wrong(l->report, ERROR_INVALID, row, "set a subnetwork",
				"%s is of custom mode and has no subnetwork of its own in each region",
				path);
		else if (found)
			check_right(l->report, row, "%s", path);
	}
	char done[ZONE_SIZE] = "", region[ZONE_SIZE];
	for (char *const *z = l->at.zones; *subnetwork && *z; z++) {
		zone_region(*z, region);
		if (strcmp(region, done) != 0 &&
			!look_at_subnetwork(l, subnetwork_row, subnetwork, network, *z))
			break;
		snprintf(done, sizeof(done), "%s", region);
	}
}

static void look_at_networks(struct look *l)
{
	const struct gcp_options *o = l->o;
	look_at_network(l, "GCP_NETWORK", l->at.network, "GCP_SUBNETWORK", o->subnetwork);
	if (!*o->second_network)
		return;
	cleanup(free_ptr) char *second = network_path(o->second_network);
	if (!second)
		return;
	if (!strcmp(path_last(second), path_last(l->at.network)))
		check_wrong(l->report, ERROR_INVALID, "GCP_SECOND_NETWORK", "take another network",
			"it is that of the first interface, and each interface must have one of its own");
	else
		look_at_network(l, "GCP_SECOND_NETWORK", second, "GCP_SECOND_SUBNETWORK",
			o->second_subnetwork);
}

/* ---- tags, quotas, permissions ----------------------------------------------------------------------------- */

static void look_at_tags(struct look *l)
{
	cleanup_error why = ERROR_INIT;
	cleanup_json *tags = NULL;
	if (tags_resolve(l->p->tags, l->at.project, &tags, l->bound, &why) < 0)
		check_failure(l->report, "TAGS", NULL, &why);
	else if (tags)
		check_right(l->report, "TAGS", "%zu found", json_object_size(tags));
}

/* What one more instance needs of a quota. */
static int64_t needed_of(const struct look *l, const char *metric)
{
	char family[FAMILY_SIZE], of_family[FAMILY_SIZE + 8];
	int64_t vcpus = l->vcpus ? l->vcpus : 1;
	family_of(l->default_type, family);
	for (char *p = family; *p; p++)
		*p = (char)toupper((unsigned char)*p);
	snprintf(of_family, sizeof(of_family), "%s_CPUS", family);
	if (!strcmp(metric, "INSTANCES"))
		return 1;
	if (!strcmp(metric, "IN_USE_ADDRESSES"))
		return l->o->use_public_ip;
	bool spot, on_demand;
	gcp_options_market(l->o, MARKET_DEFAULT, &spot, &on_demand);
	if (!strcmp(metric, "PREEMPTIBLE_CPUS"))
		return spot ? vcpus : 0;
	if (!on_demand)
		return 0;
	return !strcmp(metric, of_family) || !strcmp(metric, "CPUS") ? vcpus : 0;
}

static void look_at_quotas_of(struct look *l, const char *region)
{
	cleanup(free_ptr) char *path = path_format("projects/%s/regions/%s", l->at.project, region);
	cleanup_json *found = path ? get(l, "quotas", NULL, "regions.get", path) : NULL;
	size_t i;
	json_t *quota;
	json_array_foreach(json_object_get(found, "quotas"), i, quota)
	{
		const char *metric = json_string_value(json_object_get(quota, "metric"));
		double limit = json_number_value(json_object_get(quota, "limit"));
		double usage = json_number_value(json_object_get(quota, "usage"));
		int64_t needed = metric ? needed_of(l, metric) : 0;
		/* A family without instances yet shows 0 of 0 where its own quota is elsewhere. */
		if (!needed || (limit <= 0 && usage <= 0 && strcmp(metric, "CPUS") != 0))
			continue;
		if (usage + (double)needed > limit)
			check_wrong(l->report, ERROR_QUOTA, "quotas",
				"ask for more at IAM & Admin, Quotas, or take another region",
				"%s in %s: %g of %g used, one instance needs %lld more", metric,
				region, usage, limit, (long long)needed);
		else
			check_right(l->report, "quotas", "%s in %s: %g of %g used", metric, region,
				usage, limit);
	}
}

static void look_at_quotas(struct look *l)
{
	char done[ZONE_SIZE] = "", region[ZONE_SIZE];
	for (char *const *z = l->at.zones; *z; z++) {
		zone_region(*z, region);
		if (strcmp(region, done) != 0)
			look_at_quotas_of(l, region);
		snprintf(done, sizeof(done), "%s", region);
	}
}

static int permissions_add(json_t *wanted, const char *const *list)
{
	for (; *list; list++) {
		if (json_array_append_new(wanted, json_string(*list)) < 0)
			return -1;
	}
	return 0;
}

static bool array_holds(const json_t *array, const char *text)
{
	size_t i;
	json_t *one;
	json_array_foreach(array, i, one)
	{
		if (json_is_string(one) && !strcmp(json_string_value(one), text))
			return true;
	}
	return false;
}

static void look_at_permissions(struct look *l)
{
	cleanup_error why = ERROR_INIT;
	cleanup(buf_free) struct buf missing = BUF_INIT;
	cleanup(free_ptr) char *path =
		path_format("v3/projects/%s:testIamPermissions", l->at.project);
	cleanup_json *reply = NULL, *wanted = json_array();
	cleanup_json *body = json_pack("{s:O}", "permissions", wanted);
	if (permissions_add(wanted, gcp_permissions) < 0 ||
		(*l->o->tags && permissions_add(wanted, tag_permissions) < 0))
		return;
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	if (!text || !path) {
		free(text);
		return;
	}
	const struct compute_call call = {.what = "projects.testIamPermissions",
		.class = COMPUTE_MANAGER,
		.method = "POST",
		.path = path,
		.body = text,
		.body_len = strlen(text)};
	int result = compute_call(l->p->compute, &call, &reply, NULL, l->bound, &why);
	free(text);
	if (result < 0) {
		/* The pods need Resource Manager only for tags. */
		check_unknown(l->report, "permissions", "%s", error_message(&why));
		return;
	}
	size_t i, count = 0;
	json_t *one;
	json_array_foreach(wanted, i, one)
	{
		if (array_holds(json_object_get(reply, "permissions"), json_string_value(one)))
			continue;
		buf_printf(&missing, "%s%s", count++ ? ", " : "", json_string_value(one));
	}
	if (count)
		check_wrong(l->report, ERROR_DENIED, "permissions", ROLE_ADVICE,
			"%zu are missing: %s", count, buf_text(&missing));
	else
		check_right(l->report, "permissions", "all %zu that are needed",
			json_array_size(wanted));
}

/* ---- the whole --------------------------------------------------------------------------------------------- */

/* -1: nothing else can be looked at. */
static int look_at_project(struct look *l, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	cleanup_json *reply = NULL;
	cleanup(free_ptr) char *path = NULL;
	if (place_find(l->p->place, &l->at, l->bound, &why) < 0)
		return check_give_up(l->report, "project, zone and network", NULL, &why, err);
	path = path_format("projects/%s", l->at.project);
	if (!path ||
		compute_get(l->p->compute, "projects.get", path, &reply, l->bound, &why) == 0) {
		check_right(l->report, "credentials", "Compute Engine takes them");
		check_right(l->report, "GCP_PROJECT_ID", "%s", l->at.project);
		return 0;
	}
	/* Who is not known to Google has no status; who may not see the project has 403 or 404. */
	if (why.status != 403 && why.status != 404)
		return check_give_up(l->report, "credentials", NULL, &why, err);
	check_right(l->report, "credentials", "Google takes them");
	if (why.kind == ERROR_GONE)
		why.kind = ERROR_INVALID;
	bool denied = why.kind == ERROR_DENIED;
	const char *remedy =
		denied ? ROLE_ADVICE : "gcloud projects list shows those that there are";
	if (!denied)
		return check_give_up(l->report, "GCP_PROJECT_ID", remedy, &why, err);
	check_failure(l->report, "GCP_PROJECT_ID", remedy, &why);
	return 0;
}

int driver_check(struct provider *p, struct check_report *report, const struct bound *bound,
	struct error *err)
{
	static void (*const looks[])(struct look *) = {look_at_zones, look_at_image,
		look_at_networks, look_at_types, look_at_disks, look_at_tags, look_at_quotas,
		look_at_permissions};
	struct look l = {.p = p,
		.o = p->options,
		.tee = gcp_options_tee(p->options),
		.report = report,
		.bound = bound};
	l.default_type = default_type(p->options, l.tee);
	if (!l.default_type)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	int result = look_at_project(&l, err);
	for (size_t i = 0; result == 0 && i < array_size(looks); i++)
		looks[i](&l);
	image_facts_free(&l.image);
	free(l.default_type);
	return result < 0 ? -1 : check_conclude(report, err);
}
