/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xml.h - reading libvirt's XML with XPath, and building ours
 *
 * Documents come from the daemon, and parts of them (metadata, names) from whoever may write there: they are
 * parsed without network, without a DTD and with a limit.
 */
#ifndef PEERPOD_LIBVIRT_XML_H
#define PEERPOD_LIBVIRT_XML_H

#include <libxml/tree.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/cleanup.h"
#include "base/error.h"

DEFINE_CLEANUP(xmlDoc, xmlFreeDoc)
#define cleanup_xml cleanup(xmlFreeDoc_ptr) xmlDoc

/* Capabilities of a host with every emulator are about 300 KB. */
#define XML_TEXT_MAX (8u << 20)

/* what is for messages: "volume podvm-base.qcow2". NULL on failure (ERROR_INVALID). */
xmlDoc *xml_parse(const char *what, const char *text, struct error *err);

/*
 * The string value of the first match under node (NULL: the whole document); a new string, NULL where nothing
 * matches, it is empty, or memory is out. Elements of other namespaces: local-name().
 */
char *xml_text(xmlDoc *doc, xmlNode *node, const char *xpath);

/* The same as a number; false where it is absent or none. */
bool xml_number(xmlDoc *doc, xmlNode *node, const char *xpath, uint64_t *value);

bool xml_has(xmlDoc *doc, xmlNode *node, const char *xpath);

/* Calls fn for every element that matches. */
void xml_each(xmlDoc *doc, const char *xpath, void (*fn)(xmlDoc *doc, xmlNode *node, void *opaque),
	void *opaque);

/*
 * A new child with attributes: name, value pairs ended by NULL; a pair whose value is NULL is left out. Values and
 * text are escaped when the document is written. Never NULL: it ends the process when memory is out.
 */
xmlNode *xml_child(xmlNode *parent, const char *name, ...) __attribute__((sentinel));
xmlNode *xml_child_text(xmlNode *parent, const char *name, const char *text);
xmlNode *xml_child_format(xmlNode *parent, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void xml_attribute(xmlNode *node, const char *name, const char *value);
void xml_attribute_format(xmlNode *node, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The document as text, indented, without the XML declaration. New string; NULL: no memory. */
char *xml_write(xmlDoc *doc);

/* May this text stand in XML: UTF-8 without control characters (tab and line ends are allowed)? */
bool xml_text_valid(const char *text);

#endif
