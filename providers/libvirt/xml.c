/* SPDX-License-Identifier: Apache-2.0 */
/* xml.c - see xml.h */
#include "providers/libvirt/xml.h"

#include <errno.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

xmlDoc *xml_parse(const char *what, const char *text, struct error *err)
{
	size_t len = strnlen(text, XML_TEXT_MAX + 1);
	if (len > XML_TEXT_MAX) {
		error_set(err, ERROR_INVALID, "the XML of %s is longer than %u bytes", what,
			XML_TEXT_MAX);
		return NULL;
	}
	cleanup_xml *doc = xmlReadMemory(text, (int)len, NULL, "UTF-8",
		XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOBLANKS |
			XML_PARSE_NOCDATA);
	if (!doc || !xmlDocGetRootElement(doc)) {
		error_set(err, ERROR_INVALID, "the XML of %s is not well-formed", what);
		return NULL;
	}
	if (doc->intSubset || doc->extSubset) {
		error_set(err, ERROR_INVALID, "the XML of %s has a DTD", what);
		return NULL;
	}
	return take_ptr(doc);
}

static xmlXPathObject *evaluate(xmlDoc *doc, xmlNode *node, const char *xpath)
{
	xmlXPathContext *context = xmlXPathNewContext(doc);
	if (!context)
		return NULL;
	context->node = node ? node : xmlDocGetRootElement(doc);
	xmlXPathObject *object = xmlXPathEvalExpression((const xmlChar *)xpath, context);
	xmlXPathFreeContext(context);
	return object;
}

char *xml_text(xmlDoc *doc, xmlNode *node, const char *xpath)
{
	xmlXPathObject *object = evaluate(doc, node, xpath);
	if (!object)
		return NULL;
	xmlChar *value = xmlXPathCastToString(object);
	xmlXPathFreeObject(object);
	/* xmlFree need not be free. */
	char *text = value && *value ? strdup((const char *)value) : NULL;
	xmlFree(value);
	return text;
}

bool xml_number(xmlDoc *doc, xmlNode *node, const char *xpath, uint64_t *value)
{
	cleanup(free_ptr) char *text = xml_text(doc, node, xpath);
	if (!text || *text < '0' || *text > '9')
		return false;
	char *end;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return !*end && !errno;
}

bool xml_has(xmlDoc *doc, xmlNode *node, const char *xpath)
{
	xmlXPathObject *object = evaluate(doc, node, xpath);
	bool has = object && xmlXPathCastToBoolean(object);
	xmlXPathFreeObject(object);
	return has;
}

void xml_each(xmlDoc *doc, const char *xpath, void (*fn)(xmlDoc *doc, xmlNode *node, void *opaque),
	void *opaque)
{
	xmlXPathObject *object = evaluate(doc, NULL, xpath);
	if (object && object->type == XPATH_NODESET && object->nodesetval) {
		for (int i = 0; i < object->nodesetval->nodeNr; i++) {
			if (object->nodesetval->nodeTab[i]->type == XML_ELEMENT_NODE)
				fn(doc, object->nodesetval->nodeTab[i], opaque);
		}
	}
	xmlXPathFreeObject(object);
}

static void *needed(void *p)
{
	if (!p)
		abort(); /* half a domain definition must not reach libvirt */
	return p;
}

void xml_attribute(xmlNode *node, const char *name, const char *value)
{
	needed(xmlNewProp(node, (const xmlChar *)name, (const xmlChar *)value));
}

void xml_attribute_format(xmlNode *node, const char *name, const char *format, ...)
{
	cleanup(free_ptr) char *value = NULL;
	va_list arguments;
	va_start(arguments, format);
	if (vasprintf(&value, format, arguments) < 0)
		abort();
	va_end(arguments);
	xml_attribute(node, name, value);
}

xmlNode *xml_child(xmlNode *parent, const char *name, ...)
{
	xmlNode *child = needed(xmlNewChild(parent, NULL, (const xmlChar *)name, NULL));
	va_list arguments;
	va_start(arguments, name);
	for (;;) {
		const char *key = va_arg(arguments, const char *);
		if (!key)
			break;
		const char *value = va_arg(arguments, const char *);
		if (value)
			xml_attribute(child, key, value);
	}
	va_end(arguments);
	return child;
}

xmlNode *xml_child_text(xmlNode *parent, const char *name, const char *text)
{
	return needed(xmlNewTextChild(parent, NULL, (const xmlChar *)name, (const xmlChar *)text));
}

xmlNode *xml_child_format(xmlNode *parent, const char *name, const char *format, ...)
{
	cleanup(free_ptr) char *text = NULL;
	va_list arguments;
	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		abort();
	va_end(arguments);
	return xml_child_text(parent, name, text);
}

char *xml_write(xmlDoc *doc)
{
	xmlBuffer *buffer = xmlBufferCreate();
	if (!buffer)
		return NULL;
	char *text = NULL;
	if (xmlNodeDump(buffer, doc, xmlDocGetRootElement(doc), 0, 1) >= 0)
		text = strdup((const char *)xmlBufferContent(buffer));
	xmlBufferFree(buffer);
	return text;
}

bool xml_text_valid(const char *text)
{
	if (!xmlCheckUTF8((const xmlChar *)text))
		return false;
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p < ' ' && *p != '\t' && *p != '\n' && *p != '\r')
			return false;
		/* U+FFFE and U+FFFF are no characters of XML. */
		if (p[0] == 0xef && p[1] == 0xbf && p[2] >= 0xbe)
			return false;
	}
	return true;
}
