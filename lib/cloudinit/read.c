/* SPDX-License-Identifier: Apache-2.0 */
/*
 * read.c - reading user data, which anybody between the adaptor and this VM may have written
 *
 * libyaml gives events (mapping starts, scalar, ...); this file walks the one shape that is allowed:
 *
 *   {write_files: [{path: scalar, content: scalar}, ...]}
 *
 * Everything else ends the reading where it stands, so nothing of unknown depth or size is ever built.
 * Aliases, anchors and tags are refused before their meaning matters.
 */
#include <string.h>
#include <yaml.h>
#include "cloudinit/cloudinit.h"

struct reader {
	yaml_parser_t parser;
	yaml_event_t event; /* the last one read */
	struct error *err;
};

static void reader_free(struct reader *r)
{
	yaml_event_delete(&r->event);
	yaml_parser_delete(&r->parser);
}

/* Fails at the place of the last event. what is one line, shown text bounded by the caller. */
static int __attribute__((format(printf, 2, 3))) refuse(struct reader *r, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	cleanup(free_ptr) char *what = NULL;
	if (vasprintf(&what, format, args) < 0)
		what = NULL;
	va_end(args);
	return error_set(r->err, ERROR_INVALID, "user data: line %zu, column %zu: %s",
		r->event.start_mark.line + 1, r->event.start_mark.column + 1,
		what ? what : "refused");
}

static int syntax_error(struct reader *r)
{
	const yaml_parser_t *p = &r->parser;
	const char *problem = p->problem ? p->problem : "not YAML";
	if (p->error == YAML_MEMORY_ERROR)
		return error_set(r->err, ERROR_CAPACITY, "user data: out of memory");
	if (p->error == YAML_READER_ERROR)
		return error_set(r->err, ERROR_INVALID, "user data: byte %zu: %s",
			p->problem_offset, problem);
	return error_set(r->err, ERROR_INVALID, "user data: line %zu, column %zu: %s",
		p->problem_mark.line + 1, p->problem_mark.column + 1, problem);
}

/* The next event, in r->event. */
static int next(struct reader *r)
{
	yaml_event_delete(&r->event);
	if (!yaml_parser_parse(&r->parser, &r->event)) {
		r->event = (yaml_event_t){0};
		return syntax_error(r);
	}
	const yaml_char_t *anchor = NULL, *tag = NULL;
	switch (r->event.type) {
	case YAML_ALIAS_EVENT:
		return refuse(r, "aliases are not allowed");
	case YAML_SCALAR_EVENT:
		anchor = r->event.data.scalar.anchor;
		tag = r->event.data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = r->event.data.sequence_start.anchor;
		tag = r->event.data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = r->event.data.mapping_start.anchor;
		tag = r->event.data.mapping_start.tag;
		break;
	default:
		break;
	}
	if (anchor)
		return refuse(r, "anchors are not allowed");
	if (tag)
		return refuse(r, "tags are not allowed");
	return 0;
}

static bool is_null(const yaml_event_t *event)
{
	if (event->type != YAML_SCALAR_EVENT || event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
	for (size_t i = 0; i < array_size(nulls); i++)
		if (!strcmp((const char *)event->data.scalar.value, nulls[i]))
			return true;
	return false;
}

/* The scalar as one short printable word, for messages. */
static const char *shown(const yaml_event_t *event, char out[static 64])
{
	size_t len = event->data.scalar.length;
	size_t i = 0;
	for (; i < len && i < 60; i++) {
		char c = (char)event->data.scalar.value[i];
		out[i] = '?';
		if (c >= ' ' && c < 127)
			out[i] = c;
	}
	const char *end = i < len ? "..." : "";
	memcpy(out + i, end, strlen(end) + 1);
	return out;
}

/* Index of the key that the last event is, or -1 after refusing it. seen: one bit a key. */
static int key_index(struct reader *r, const char *const *keys, int count, unsigned *seen,
	const char *known)
{
	char word[64];
	if (r->event.type != YAML_SCALAR_EVENT)
		return refuse(r, "a key must be a word");
	for (int i = 0; i < count; i++) {
		if (r->event.data.scalar.length != strlen(keys[i]) ||
			memcmp(r->event.data.scalar.value, keys[i], strlen(keys[i])) != 0)
			continue;
		if (*seen & 1u << i)
			return refuse(r, "the key \"%s\" is there twice", keys[i]);
		*seen |= 1u << i;
		return i;
	}
	return refuse(r, "unknown key \"%s\"; %s", shown(&r->event, word), known);
}

/* The scalar of the next event as a string of its own. */
static int read_scalar(struct reader *r, const char *key, char **out, size_t *len)
{
	if (next(r) < 0)
		return -1;
	if (r->event.type != YAML_SCALAR_EVENT)
		return refuse(r, "the value of \"%s\" must be text", key);
	*len = is_null(&r->event) ? 0 : r->event.data.scalar.length;
	if (!(*out = malloc(*len + 1)))
		return error_set(r->err, ERROR_CAPACITY, "user data: out of memory");
	memcpy(*out, r->event.data.scalar.value, *len);
	(*out)[*len] = 0;
	return 0;
}

/* One entry; the last event is the start of its mapping. */
static int read_file(struct reader *r, struct cloudinit_file *file)
{
	static const char *const keys[] = {"path", "content"};
	if (r->event.type != YAML_MAPPING_START_EVENT)
		return refuse(r, "an entry of \"write_files\" must be a mapping with \"path\"");
	yaml_mark_t start = r->event.start_mark;
	unsigned seen = 0;
	while (next(r) == 0) {
		if (r->event.type == YAML_MAPPING_END_EVENT) {
			r->event.start_mark = start;
			if (!file->path || !*file->path)
				return refuse(r, "this entry of \"write_files\" has no \"path\"");
			return 0;
		}
		size_t path_len = 0;
		switch (key_index(r, keys, 2, &seen,
			"an entry has \"path\" and \"content\" only")) {
		case 0:
			if (read_scalar(r, "path", &file->path, &path_len) < 0)
				return -1;
			if (strlen(file->path) != path_len)
				return refuse(r, "the path holds a NUL character");
			break;
		case 1:
			if (read_scalar(r, "content", &file->content, &file->len) < 0)
				return -1;
			break;
		default:
			return -1;
		}
	}
	return -1;
}

static int read_files(struct reader *r, struct cloudinit *out)
{
	if (next(r) < 0)
		return -1;
	if (is_null(&r->event))
		return 0;
	if (r->event.type != YAML_SEQUENCE_START_EVENT)
		return refuse(r, "\"write_files\" must be a list");
	while (next(r) == 0) {
		if (r->event.type == YAML_SEQUENCE_END_EVENT)
			return 0;
		if (out->count == CLOUDINIT_FILES_MAX)
			return refuse(r, "more than %d files", CLOUDINIT_FILES_MAX);
		if (!out->files && !(out->files = calloc(CLOUDINIT_FILES_MAX, sizeof *out->files)))
			return error_set(r->err, ERROR_CAPACITY, "user data: out of memory");
		if (read_file(r, &out->files[out->count++]) < 0)
			return -1;
	}
	return -1;
}

/* The one document; the last event is its first node. */
static int read_document(struct reader *r, struct cloudinit *out)
{
	static const char *const keys[] = {"write_files"};
	if (is_null(&r->event))
		return 0;
	if (r->event.type != YAML_MAPPING_START_EVENT)
		return refuse(r, "a cloud-config must be a mapping with \"write_files\"");
	unsigned seen = 0;
	while (next(r) == 0) {
		if (r->event.type == YAML_MAPPING_END_EVENT)
			return 0;
		if (key_index(r, keys, 1, &seen, "only \"write_files\" is allowed here") < 0 ||
			read_files(r, out) < 0)
			return -1;
	}
	return -1;
}

static int read_stream(struct reader *r, struct cloudinit *out)
{
	if (next(r) < 0) /* the stream's start */
		return -1;
	if (next(r) < 0) /* the document's */
		return -1;
	if (r->event.type == YAML_STREAM_END_EVENT)
		return 0;
	if (next(r) < 0 || read_document(r, out) < 0 || next(r) < 0) /* the document's end */
		return -1;
	if (next(r) < 0)
		return -1;
	if (r->event.type != YAML_STREAM_END_EVENT)
		return refuse(r, "more than one document");
	return 0;
}

int cloudinit_read(const char *text, size_t len, struct cloudinit *out, struct error *err)
{
	*out = (struct cloudinit){0};
	if (len > CLOUDINIT_DOCUMENT_MAX)
		return error_set(err, ERROR_INVALID,
			"user data: %zu bytes are more than the limit of %d", len,
			CLOUDINIT_DOCUMENT_MAX);
	cleanup(reader_free) struct reader r = {.err = err};
	if (!yaml_parser_initialize(&r.parser))
		return error_set(err, ERROR_CAPACITY, "user data: out of memory");
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
	if (read_stream(&r, out) == 0)
		return 0;
	cloudinit_free(out);
	return -1;
}
