/* SPDX-License-Identifier: Apache-2.0 */
/* xml.c - see xml.h */
#include "providers/aws/xml.h"

#include <ctype.h>
#include <errno.h>
#include <libxml/parser.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

xmlDoc *xml_parse(const char *what, const void *text, size_t len, struct error *err)
{
	cleanup_xml *doc = len && len <= INT_MAX
				   ? xmlReadMemory(text, (int)len, NULL, NULL,
					     XML_PARSE_NONET | XML_PARSE_NOERROR |
						     XML_PARSE_NOWARNING | XML_PARSE_NOCDATA)
				   : NULL;
	if (!doc || !xmlDocGetRootElement(doc) || doc->intSubset || doc->extSubset) {
		error_set(err, ERROR_RETRY, "%s: the answer is no XML that EC2 would send", what);
		return NULL;
	}
	return take_ptr(doc);
}

static bool is_named(const xmlNode *node, const char *name, size_t len)
{
	return node->type == XML_ELEMENT_NODE && strlen((const char *)node->name) == len &&
	       !strncmp((const char *)node->name, name, len);
}

xmlNode *xml_at(xmlNode *node, const char *path)
{
	while (node && *path) {
		size_t len = strcspn(path, "/");
		xmlNode *child = node->children;
		while (child && !is_named(child, path, len))
			child = child->next;
		node = child;
		path += len + (path[len] == '/');
	}
	return node;
}

char *xml_text(xmlNode *node, const char *path)
{
	xmlNode *at = xml_at(node, path);
	xmlChar *content = at ? xmlNodeGetContent(at) : NULL;
	const char *start = content ? (const char *)content : "";
	while (isspace((unsigned char)*start))
		start++;
	const char *end = start + strlen(start);
	while (end > start && isspace((unsigned char)end[-1]))
		end--;
	char *text = end > start ? strndup(start, (size_t)(end - start)) : NULL;
	xmlFree(content);
	return text;
}

int64_t xml_number(xmlNode *node, const char *path, int64_t otherwise)
{
	cleanup(free_ptr) char *text = xml_text(node, path);
	if (!text || !isdigit((unsigned char)*text))
		return otherwise;
	char *end;
	errno = 0;
	long long value = strtoll(text, &end, 10);
	return errno || *end ? otherwise : value;
}

xmlNode *xml_first_item(xmlNode *node, const char *path)
{
	xmlNode *set = xml_at(node, path);
	return set ? xml_at(set, "item") : NULL;
}

xmlNode *xml_next_item(xmlNode *item)
{
	xmlNode *next = item->next;
	while (next && !is_named(next, "item", 4))
		next = next->next;
	return next;
}
