/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volumes.c - existing disks are looked at before they are attached; see driver.h
 *
 * They are attached by the VM's creation itself, the first as lun 0. A disk belongs to a region and mostly to a zone: the
 * VM must be made there.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "providers/azure/driver.h"
#include "providers/azure/vm.h"

static const char *zone_of(const json_t *disk)
{
	const char *zone = json_string_value(json_array_get(json_object_get(disk, "zones"), 0));
	/* A zone-redundant disk names several, and can be attached in any. */
	return zone && json_array_size(json_object_get(disk, "zones")) == 1 ? zone : "";
}

static int disk_check(const struct azure_options *o, const char *id, const json_t *disk,
	struct error *err)
{
	const char *state = text_of(disk, "properties", "diskState", NULL),
		   *holder = text_of(disk, "managedBy", NULL),
		   *location = text_of(disk, "location", NULL);
	const char *type = text_of(disk, "sku", "name", NULL);
	bool shared = json_integer_value(json_object_get(json_object_get(disk, "properties"),
			      "maxShares")) > 1;
	if (!is_region(location, o->region))
		return error_set(err, ERROR_INVALID,
			"volume %s is in region %s, the pod VMs are in %s", id, location,
			o->region);
	bool taken = !strcasecmp(state, "Attached") || !strcasecmp(state, "Reserved");
	if (taken && !shared)
		return error_set(err, ERROR_RETRY, "volume %s is %s%s%s", id, state,
			*holder ? ", held by " : "", holder);
	if (!strcasecmp(type, "UltraSSD_LRS"))
		return error_set(err, ERROR_UNSUPPORTED,
			"volume %s is an Ultra disk, which a pod VM does not take", id);
	return 0;
}

int volumes_check(struct provider *p, const struct instance_request *r, char zone[16],
	const struct bound *bound, struct error *err)
{
	*zone = '\0';
	for (size_t i = 0; i < r->volume_count; i++) {
		struct arm_id id;
		char what[ARM_PART_MAX + 32];
		const char *volume = r->volumes[i].id;
		if (arm_id_parse("volume", volume, KIND_DISK, &id, err) < 0)
			return -1;
		for (size_t k = 0; k < i; k++) {
			if (!strcasecmp(volume, r->volumes[k].id))
				return error_set(err, ERROR_INVALID, "volume %s is named twice",
					volume);
		}
		snprintf(what, sizeof(what), "look at volume %s", id.name);
		cleanup_json *disk =
			arm_get(p->arm, what, bound, err, "%s?api-version=" VERSION_DISK, volume);
		if (!disk) {
			/* To the pod it is a wish that cannot be fulfilled. */
			if (err && err->kind == ERROR_GONE)
				err->kind = ERROR_INVALID;
			return -1;
		}
		if (disk_check(p->options, volume, disk, err) < 0)
			return -1;
		const char *of_disk = zone_of(disk);
		if (*zone && *of_disk && strcmp(zone, of_disk) != 0)
			return error_set(err, ERROR_INVALID,
				"volume %s is in zone %s and others are in zone %s: one VM cannot have both",
				volume, of_disk, zone);
		if (*of_disk)
			snprintf(zone, 16, "%s", of_disk);
	}
	return 0;
}
