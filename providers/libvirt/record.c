/* SPDX-License-Identifier: Apache-2.0 */
/* record.c - see record.h */
#include "providers/libvirt/record.h"

#include <string.h>
#include <time.h>

#include "base/buf.h"

#define VALUE_MAX 512  /* names of Kubernetes objects have at most 253 characters */
#define DATA_MAX 65536 /* paths of 16 disks, each at most PATH_MAX */

void time_text(int64_t seconds, char text[32])
{
	time_t t = (time_t)seconds;
	struct tm utc;
	if (!gmtime_r(&t, &utc) || !strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &utc))
		text[0] = '\0';
}

int64_t time_parse(const char *text)
{
	struct tm utc = {0};
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &utc);
	return end && !*end ? (int64_t)timegm(&utc) : -1;
}

static int value_check(const char *name, const char *value, size_t max, struct error *err)
{
	if (strlen(value) > max)
		return error_set(err, ERROR_INVALID, "%s is longer than %zu characters", name, max);
	if (!xml_text_valid(value))
		return error_set(err, ERROR_INVALID, "%s holds a control character or is not UTF-8",
			name);
	return 0;
}

int record_write(xmlNode *domain, const struct record *record, const char *data, struct error *err)
{
	const struct {
		const char *name, *value;
	} values[] = {
		{"cluster", record->cluster},
		{"node", record->node},
		{"namespace", record->pod_namespace},
		{"pod", record->pod},
		{"sandbox", record->sandbox},
		{"token", record->token},
		{"pool", record->pool},
	};
	for (size_t i = 0; i < array_size(values); i++) {
		if (value_check(values[i].name, values[i].value, VALUE_MAX, err) < 0)
			return -1;
	}
	xmlNode *metadata = xml_child(domain, "metadata", NULL);
	xmlNode *podvm = xml_child(metadata, "podvm", NULL);
	xmlNs *ns = xmlNewNs(podvm, (const xmlChar *)RECORD_NAMESPACE, (const xmlChar *)"pp");
	if (!ns)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	xmlSetNs(podvm, ns);
	for (size_t i = 0; i < array_size(values); i++)
		xml_attribute(podvm, values[i].name, values[i].value);
	char created[32];
	time_text(record->created, created);
	xml_attribute(podvm, "created", created);
	cleanup(buf_free) struct buf volumes = BUF_INIT;
	for (size_t i = 0; i < record->volume_count; i++)
		buf_printf(&volumes, "%s%s", i ? " " : "", record->volumes[i]);
	if (volumes.failed)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	xml_attribute(podvm, "volumes", buf_text(&volumes));
	if (data && *data) {
		if (value_check("data", data, DATA_MAX, err) < 0)
			return -1;
		xml_attribute(podvm, "data", data);
	}
	return 0;
}

/* The attribute as a new string, "" where it is absent; NULL with an error where it is unreasonable. */
static char *attribute_read(const char *what, xmlDoc *doc, xmlNode *node, const char *xpath,
	struct error *err)
{
	cleanup(free_ptr) char *value = xml_text(doc, node, xpath);
	if (value && strlen(value) > VALUE_MAX) {
		error_set(err, ERROR_INVALID, "metadata of %s: %s is longer than %d characters",
			what, xpath + 1, VALUE_MAX);
		return NULL;
	}
	char *copy = value ? take_ptr(value) : strdup("");
	if (!copy)
		error_set(err, ERROR_CAPACITY, "out of memory");
	return copy;
}

static int volumes_read(const char *what, char *list, struct record *record, struct error *err)
{
	char *rest = NULL;
	for (char *name = strtok_r(list, " ", &rest); name; name = strtok_r(NULL, " ", &rest)) {
		if (record->volume_count == RECORD_VOLUMES_MAX)
			return error_set(err, ERROR_INVALID, "metadata of %s: more than %d volumes",
				what, RECORD_VOLUMES_MAX);
		char *copy = strdup(name);
		if (!copy)
			return error_set(err, ERROR_CAPACITY, "out of memory");
		record->volumes[record->volume_count++] = copy;
	}
	return 0;
}

static int fields_read(const char *what, xmlDoc *doc, xmlNode *node, struct record *record,
	struct error *err)
{
	const struct {
		const char *xpath;
		char **to;
	} fields[] = {
		{"@cluster", &record->cluster},
		{"@node", &record->node},
		{"@namespace", &record->pod_namespace},
		{"@pod", &record->pod},
		{"@sandbox", &record->sandbox},
		{"@token", &record->token},
		{"@pool", &record->pool},
	};
	for (size_t i = 0; i < array_size(fields); i++) {
		*fields[i].to = attribute_read(what, doc, node, fields[i].xpath, err);
		if (!*fields[i].to)
			return -1;
	}
	cleanup(free_ptr) char *created = xml_text(doc, node, "@created");
	int64_t seconds = created ? time_parse(created) : -1;
	record->created = seconds > 0 ? seconds : 0;
	cleanup(free_ptr) char *volumes = xml_text(doc, node, "@volumes");
	if (volumes && strlen(volumes) > RECORD_VOLUMES_MAX * VALUE_MAX)
		return error_set(err, ERROR_INVALID, "metadata of %s: too many volumes", what);
	return volumes ? volumes_read(what, volumes, record, err) : 0;
}

static void remember(xmlDoc *doc, xmlNode *node, void *opaque)
{
	(void)doc;
	xmlNode **first = opaque;
	if (!*first)
		*first = node;
}

int record_read(const char *what, const char *text, struct record *record, struct error *err)
{
	*record = (struct record){0};
	cleanup_xml *doc = xml_parse(what, text, err);
	if (!doc)
		return -1;
	xmlNode *node = NULL;
	xml_each(doc,
		"/*[local-name()='podvm' and namespace-uri()='" RECORD_NAMESPACE "']"
		"|/domain/metadata/*[local-name()='podvm' and namespace-uri()='" RECORD_NAMESPACE
		"']",
		remember, &node);
	/* virDomainGetMetadata strips the namespace from the element that it returns. */
	if (!node)
		xml_each(doc, "/podvm", remember, &node);
	if (!node)
		return error_set(err, ERROR_GONE, "%s carries no metadata of ours", what);
	if (fields_read(what, doc, node, record, err) == 0)
		return 0;
	record_free(record);
	return -1;
}

void record_free(struct record *record)
{
	free(record->cluster);
	free(record->node);
	free(record->pod_namespace);
	free(record->pod);
	free(record->sandbox);
	free(record->token);
	free(record->pool);
	for (size_t i = 0; i < record->volume_count; i++)
		free(record->volumes[i]);
	*record = (struct record){0};
}
