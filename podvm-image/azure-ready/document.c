/* SPDX-License-Identifier: Apache-2.0 */
/*
 * document.c - see document.h
 *
 * The host is not trusted, so little of XML is taken: no DTD (and with it no entities but XML's own), and elements
 * no deeper and names no longer than Azure comes near to. Elements are known by their path from the root, and text is
 * kept of those alone that are wanted. It goes into a header and into a document for the host: it is printable
 * ASCII, and escaped where it is written.
 */
#include "document.h"

#include <expat.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#define VERSION_WANTED "2015-04-05"
#define DEPTH_MAX 16 /* Azure's goal state has 6 */
#define ELEMENT_NAME_MAX 64

/* An element whose text is wanted. */
struct wanted {
	const char *path; /* "GoalState/Incarnation" */
	struct document_value *value;
	const char *better; /* the first text counts, but this one more; NULL: nothing does */
};

struct reader {
	XML_Parser parser;
	const struct wanted *wanted;
	size_t wanted_count;
	char path[DEPTH_MAX *
		  (ELEMENT_NAME_MAX + 1)]; /* of the element that is open, from the root */
	unsigned depth;
	const struct wanted *open;  /* the wanted element that is open; NULL: none */
	struct document_value text; /* of it, so far */
	size_t len;
	struct error *err;
	bool failed;
};

DEFINE_CLEANUP(struct XML_ParserStruct, XML_ParserFree)

#define refuse(reader, ...)                                           \
	do {                                                          \
		error_set((reader)->err, ERROR_INVALID, __VA_ARGS__); \
		(reader)->failed = true;                              \
		XML_StopParser((reader)->parser, XML_FALSE);          \
	} while (0)

static void on_doctype(void *opaque, const char *name, const char *system, const char *public,
	int internal)
{
	(void)name, (void)system, (void)public, (void)internal;
	struct reader *r = opaque;
	refuse(r, "the answer has a DTD");
}

static void on_start(void *opaque, const char *name, const char **attributes)
{
	(void)attributes;
	struct reader *r = opaque;
	size_t path_len = strlen(r->path), name_len = strlen(name);
	if (r->failed)
		return;
	if (r->open) {
		refuse(r, "there are elements in %s", r->open->path);
		return;
	}
	if (r->depth == DEPTH_MAX || name_len > ELEMENT_NAME_MAX) {
		refuse(r, "the answer has elements deeper than %d or names longer than %d",
			DEPTH_MAX, ELEMENT_NAME_MAX);
		return;
	}
	if (r->depth++)
		r->path[path_len++] = '/';
	memcpy(r->path + path_len, name, name_len + 1);
	for (size_t i = 0; i < r->wanted_count; i++) {
		if (!strcmp(r->path, r->wanted[i].path))
			r->open = &r->wanted[i];
	}
	r->len = 0;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void on_text(void *opaque, const char *text, int len)
{
	struct reader *r = opaque;
	for (int i = 0; i < len && r->open && !r->failed; i++) {
		if (!r->len && is_space(text[i]))
			continue;
		if (r->len == DOCUMENT_VALUE_MAX)
			refuse(r, "%s is longer than %d bytes", r->open->path, DOCUMENT_VALUE_MAX);
		else
			r->text.text[r->len++] = text[i];
	}
}

static void on_end(void *opaque, const char *name)
{
	(void)name;
	struct reader *r = opaque;
	if (r->failed)
		return;
	const struct wanted *wanted = r->open;
	r->open = NULL;
	char *slash = strrchr(r->path, '/');
	*(slash ? slash : r->path) = '\0';
	r->depth--;
	if (!wanted)
		return;
	while (r->len && is_space(r->text.text[r->len - 1]))
		r->len--;
	r->text.text[r->len] = '\0';
	for (size_t i = 0; i < r->len; i++) {
		if (r->text.text[i] < ' ' || r->text.text[i] > '~') {
			refuse(r, "%s has characters that are not printable ASCII", wanted->path);
			return;
		}
	}
	if (r->len && (!*wanted->value->text ||
			      (wanted->better && !strcmp(r->text.text, wanted->better))))
		*wanted->value = r->text;
}

/* Fills all that is wanted, or fails. */
static int document_read(const void *text, size_t len, const struct wanted *wanted, size_t count,
	struct error *err)
{
	/* UTF-8, whatever the document says of itself. */
	cleanup(XML_ParserFree_ptr) XML_Parser parser = XML_ParserCreate("UTF-8");
	struct reader r = {.parser = parser, .wanted = wanted, .wanted_count = count, .err = err};
	if (!parser)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	if (len > INT_MAX)
		return error_set(err, ERROR_INVALID, "the answer is too large");
	XML_SetUserData(parser, &r);
	XML_SetElementHandler(parser, on_start, on_end);
	XML_SetCharacterDataHandler(parser, on_text);
	XML_SetStartDoctypeDeclHandler(parser, on_doctype);
	enum XML_Status status = XML_Parse(parser, text, (int)len, XML_TRUE);
	if (r.failed)
		return -1;
	if (status != XML_STATUS_OK)
		return error_set(err, ERROR_INVALID, "the answer is no XML: %s in line %lu",
			XML_ErrorString(XML_GetErrorCode(parser)),
			(unsigned long)XML_GetCurrentLineNumber(parser));
	for (size_t i = 0; i < count; i++) {
		if (!*wanted[i].value->text)
			return error_set(err, ERROR_INVALID, "the answer has no %s",
				wanted[i].path);
	}
	return 0;
}

int versions_read(const void *text, size_t len, struct document_value *version, struct error *err)
{
	*version = (struct document_value){0};
	const struct wanted wanted[] = {
		{"Versions/Supported/Version", version, .better = VERSION_WANTED},
	};
	return document_read(text, len, wanted, array_size(wanted), err);
}

int goal_state_read(const void *text, size_t len, struct goal_state *state, struct error *err)
{
	*state = (struct goal_state){0};
	const struct wanted wanted[] = {
		{"GoalState/Incarnation", &state->incarnation},
		{"GoalState/Container/ContainerId", &state->container_id},
		{"GoalState/Container/RoleInstanceList/RoleInstance/InstanceId",
			&state->instance_id},
	};
	return document_read(text, len, wanted, array_size(wanted), err);
}

static void append_escaped(struct buf *out, const char *text)
{
	static const struct {
		char c;
		const char *escaped;
	} table[] = {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"},
		{'\'', "&apos;"}};
	for (; *text; text++) {
		const char *escaped = NULL;
		for (size_t i = 0; i < array_size(table); i++) {
			if (table[i].c == *text)
				escaped = table[i].escaped;
		}
		if (escaped)
			buf_append_text(out, escaped);
		else
			buf_append(out, text, 1);
	}
}

int health_write(const struct goal_state *state, struct buf *out, struct error *err)
{
	buf_append_text(out, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
			     "<Health><GoalStateIncarnation>");
	append_escaped(out, state->incarnation.text);
	buf_append_text(out, "</GoalStateIncarnation><Container><ContainerId>");
	append_escaped(out, state->container_id.text);
	buf_append_text(out, "</ContainerId><RoleInstanceList><Role><InstanceId>");
	append_escaped(out, state->instance_id.text);
	buf_append_text(out, "</InstanceId><Health><State>Ready</State></Health></Role>"
			     "</RoleInstanceList></Container></Health>\n");
	return out->failed ? error_set(err, ERROR_CAPACITY, "out of memory") : 0;
}
