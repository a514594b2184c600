/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volumes.c - EBS volumes that exist already, attached in their order; see driver.h
 *
 * They must be free and in one zone, which is looked at before an instance is made. Attaching needs a running instance.
 * A volume is never made or deleted here; termination detaches it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "providers/aws/driver.h"

#define VOLUMES_MAX 27 /* what most Nitro types take */
#define TRIES_MAX 4    /* of attaching, while that fails in passing */

struct volume {
	char *zone, *state, *instance, *attachment;
};

static void volume_clear(struct volume *v)
{
	free(v->zone);
	free(v->state);
	free(v->instance);
	free(v->attachment);
	*v = (struct volume){0};
}

static void volumes_clear(struct volume (*volumes)[VOLUMES_MAX])
{
	for (size_t i = 0; i < VOLUMES_MAX; i++)
		volume_clear(&(*volumes)[i]);
}

static int id_check(const char *id, struct error *err)
{
	size_t digits = strncmp(id, "vol-", 4) ? 0 : strspn(id + 4, "0123456789abcdef");
	if (digits >= 8 && !id[4 + digits])
		return 0;
	return error_set(err, ERROR_INVALID,
		"volume \"%s\": EBS volume ids look like vol-0123456789abcdef0", id);
}

/* What they are like just now, in the order of the request. */
static int volumes_look(struct provider *p, const struct instance_request *r,
	struct volume *volumes, const struct bound *bound, struct error *err)
{
	cleanup_query query = {0};
	cleanup_xml *reply = NULL;
	query_start(&query, "DescribeVolumes", EC2_VERSION);
	for (size_t i = 0; i < r->volume_count; i++)
		query_add(&query, r->volumes[i].id, "VolumeId.%zu", i + 1);
	if (ec2_call(p->ec2, EC2_READ, &query, &reply, bound, err) < 0)
		return -1;
	xmlNode *item = xml_first_item(xmlDocGetRootElement(reply), "volumeSet");
	for (; item; item = xml_next_item(item)) {
		cleanup(free_ptr) char *id = xml_text(item, "volumeId");
		for (size_t i = 0; id && i < r->volume_count; i++) {
			if (strcmp(id, r->volumes[i].id) != 0)
				continue;
			volume_clear(&volumes[i]);
			volumes[i].zone = xml_text(item, "availabilityZone");
			volumes[i].state = xml_text(item, "status");
			xmlNode *attachment = xml_first_item(item, "attachmentSet");
			volumes[i].instance = xml_text(attachment, "instanceId");
			volumes[i].attachment = xml_text(attachment, "status");
		}
	}
	for (size_t i = 0; i < r->volume_count; i++) {
		if (!volumes[i].zone || !volumes[i].state)
			return error_set(err, ERROR_GONE, "volume %s: EC2 does not show it",
				r->volumes[i].id);
	}
	return 0;
}

static bool attached_to(const struct volume *v, const char *id, const char *status)
{
	return v->instance && v->attachment && !strcmp(v->instance, id) &&
	       (!status || !strcmp(v->attachment, status));
}

int volumes_check(struct provider *p, const struct instance_request *r, const char *id, char **zone,
	const struct bound *bound, struct error *err)
{
	cleanup(volumes_clear) struct volume volumes[VOLUMES_MAX] = {0};
	if (!r->volume_count)
		return (*zone = strdup("")) ? 0 : error_set(err, ERROR_CAPACITY, "out of memory");
	if (r->volume_count > VOLUMES_MAX)
		return error_set(err, ERROR_INVALID,
			"%zu volumes are more than the %d that an instance takes", r->volume_count,
			VOLUMES_MAX);
	for (size_t i = 0; i < r->volume_count; i++) {
		if (id_check(r->volumes[i].id, err) < 0)
			return -1;
	}
	if (volumes_look(p, r, volumes, bound, err) < 0)
		return -1;
	for (size_t i = 0; i < r->volume_count; i++) {
		const struct volume *v = &volumes[i];
		if (strcmp(v->state, "available") != 0 && !attached_to(v, id, NULL))
			return error_set(err, v->instance ? ERROR_RETRY : ERROR_INVALID,
				"volume %s is %s%s%s", r->volumes[i].id, v->state,
				v->instance ? ", attached to " : "",
				v->instance ? v->instance : "");
		if (strcmp(v->zone, volumes[0].zone) != 0)
			return error_set(err, ERROR_INVALID,
				"volume %s is in zone %s and volume %s in zone %s: one instance cannot have both",
				r->volumes[0].id, volumes[0].zone, r->volumes[i].id, v->zone);
	}
	*zone = take_ptr(volumes[0].zone);
	return 0;
}

/* /dev/xvdb to /dev/xvdz, then /dev/xvdba and so on. */
static void device_name(size_t index, char name[16])
{
	if (index < 25)
		snprintf(name, 16, "/dev/xvd%c", (char)('b' + index));
	else
		snprintf(name, 16, "/dev/xvd%c%c", (char)('b' + (index - 25) / 26),
			(char)('a' + (index - 25) % 26));
}

/*
 * Attaches those that are not yet. After a passing fault it is not known whether one is: *unsure is set then, and
 * the next look tells.
 */
static int attach_missing(struct provider *p, const char *id, const struct instance_request *r,
	const struct volume *volumes, bool *unsure, const struct bound *bound, struct error *err)
{
	for (size_t i = 0; i < r->volume_count; i++) {
		char device[16];
		cleanup_query query = {0};
		cleanup_error why = ERROR_INIT;
		if (attached_to(&volumes[i], id, NULL))
			continue;
		device_name(i, device);
		query_start(&query, "AttachVolume", EC2_VERSION);
		query.once = true;
		query_add(&query, r->volumes[i].id, "VolumeId");
		query_add(&query, id, "InstanceId");
		query_add(&query, device, "Device");
		if (ec2_do(p->ec2, EC2_CHANGE, &query, bound, &why) == 0)
			continue;
		error_prefix(&why, "attach volume %s to %s", r->volumes[i].id, id);
		*unsure = *unsure || why.kind == ERROR_RETRY;
		error_clear(err);
		error_move(err, &why);
		if (!*unsure)
			return -1;
	}
	return *unsure ? -1 : 0;
}

int volumes_attach(struct provider *p, const char *id, const struct instance_request *r,
	const struct bound *bound, struct error *err)
{
	cleanup(volumes_clear) struct volume volumes[VOLUMES_MAX] = {0};
	cleanup_vm vm = {0};
	if (!r->volume_count)
		return 0;
	if (vm_wait_running(p, id, &vm, bound, err) < 0)
		return -1;
	for (unsigned looks = 0, tries = 0;; looks++) {
		size_t attached = 0;
		bool unsure = false;
		cleanup_error why = ERROR_INIT;
		if (volumes_look(p, r, volumes, bound, err) < 0)
			return -1;
		for (size_t i = 0; i < r->volume_count; i++)
			attached += attached_to(&volumes[i], id, "attached");
		if (attached == r->volume_count)
			return 0;
		if (attach_missing(p, id, r, volumes, &unsure, bound, &why) < 0 &&
			(!unsure || ++tries == TRIES_MAX))
			return error_move(err, &why);
		if (bound_sleep(bound, poll_pause_ns(looks), "wait until the volumes are attached",
			    err) < 0)
			return -1;
	}
}

int subnets_in_zone(struct provider *p, char *const *subnets, const char *zone, char ***out,
	const struct bound *bound, struct error *err)
{
	cleanup_query query = {0};
	cleanup_xml *reply = NULL;
	size_t total = 0, count = 0;
	while (subnets[total])
		total++;
	char **list = calloc(total + 1, sizeof(*list));
	if (!list)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	if (*zone) {
		query_start(&query, "DescribeSubnets", EC2_VERSION);
		for (size_t i = 0; i < total; i++)
			query_add(&query, subnets[i], "SubnetId.%zu", i + 1);
		if (ec2_call(p->ec2, EC2_READ, &query, &reply, bound, err) < 0) {
			free(list);
			return -1;
		}
	}
	for (size_t i = 0; i < total; i++) {
		bool inside = !*zone;
		xmlNode *root = reply ? xmlDocGetRootElement(reply) : NULL;
		for (xmlNode *s = xml_first_item(root, "subnetSet"); s; s = xml_next_item(s)) {
			cleanup(free_ptr) char *id = xml_text(s, "subnetId"),
					       *at = xml_text(s, "availabilityZone");
			inside |= id && at && !strcmp(id, subnets[i]) && !strcmp(at, zone);
		}
		if (inside && !(list[count++] = strdup(subnets[i]))) {
			list_free(list);
			return error_set(err, ERROR_CAPACITY, "out of memory");
		}
	}
	if (total && !count) {
		list_free(list);
		return error_set(err, ERROR_INVALID,
			"the volumes are in zone %s, and none of the subnets of AWS_SUBNET_ID is",
			zone);
	}
	*out = list;
	return 0;
}
