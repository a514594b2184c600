/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xml.h - reading the answers of EC2 and STS: elements by path, names without their namespace
 */
#ifndef PEERPOD_AWS_XML_H
#define PEERPOD_AWS_XML_H

#include <libxml/tree.h>
#include <stddef.h>
#include <stdint.h>
#include "base/cleanup.h"
#include "base/error.h"

DEFINE_CLEANUP(xmlDoc, xmlFreeDoc)
#define cleanup_xml cleanup(xmlFreeDoc_ptr) xmlDoc

/* No entities from outside, no DTD, no more depth than libxml2 allows. ERROR_RETRY where it is no XML. */
xmlDoc *xml_parse(const char *what, const void *text, size_t len, struct error *err);

/* The first element at "a/b/c" below node; NULL: none. Safe with node NULL. */
xmlNode *xml_at(xmlNode *node, const char *path);

/* Its text, a new string, surrounding white space removed; NULL where it is missing or empty. */
char *xml_text(xmlNode *node, const char *path);
int64_t xml_number(xmlNode *node, const char *path, int64_t otherwise);

/* The first child element "item" of the one at path, and the next. */
xmlNode *xml_first_item(xmlNode *node, const char *path);
xmlNode *xml_next_item(xmlNode *item);

#endif
