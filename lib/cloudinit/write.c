/* SPDX-License-Identifier: Apache-2.0 */
/*
 * write.c - user data as the pod VM reads it: a cloud-config with write_files
 *
 * Contents are YAML literal blocks with the default chomping ("clip"), in which exactly one final newline
 * exists: content that ends without one gains one on its way. That is the form every reader in the field
 * has been fed for years, and what is sent this way (JSON, base64) does not mind. Content that ends
 * with several newlines, or is nothing else, says "keep" (|+), and content whose first line begins
 * with white space says its indentation (|2), so that nothing else about the bytes changes.
 */
#include <stdint.h>
#include <string.h>
#include "base/utf8.h"
#include "cloudinit/cloudinit.h"

#define INDENT "      " /* of block lines; two more than the mapping they belong to */

/*
 * Whether a literal block carries this character unchanged: YAML's printable characters without
 * those that some version of YAML reads as a line break (CR, NEL, LS, PS) and the byte order mark.
 */
static bool carried(uint32_t c)
{
	if (c == '\t' || c == '\n')
		return true;
	if (c < 0x20 || (c >= 0x7f && c < 0xa0))
		return false;
	if (c == 0x2028 || c == 0x2029 || c == 0xfeff)
		return false;
	return c < 0xd800 || (c >= 0xe000 && c <= 0xfffd) || (c >= 0x10000 && c <= 0x10ffff);
}

static int check_content(const struct cloudinit_file *file, struct error *err)
{
	const char *text = file->content;
	for (size_t i = 0; i < file->len;) {
		uint32_t point = 0;
		size_t len = utf8_decode(text + i, file->len - i, &point);
		if (!len)
			return error_set(err, ERROR_INVALID,
				"user data: %s: byte %zu (0x%02x) is not UTF-8 text", file->path, i,
				(unsigned char)text[i]);
		if (!carried(point))
			return error_set(err, ERROR_INVALID,
				"user data: %s: the character U+%04X at byte %zu cannot be carried",
				file->path, point, i);
		i += len;
	}
	return 0;
}

/* A path is written plain, so it may hold only what YAML leaves alone. */
static int check_path(const char *path, struct error *err)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-";
	if (!path || *path != '/' || strspn(path, plain) != strlen(path))
		return error_set(err, ERROR_INVALID,
			"user data: the path \"%s\" must be absolute and hold only letters, digits, '/', '.', "
			"'_' and '-'",
			path ? path : "");
	return 0;
}

/* The head of the block: "|" with what this content needs. */
static const char *block_head(const char *content, size_t len)
{
	size_t blank = strspn(content, "\n");
	bool indented = content[blank] == ' ' || content[blank] == '\t';
	bool several =
		blank == len || (len >= 2 && content[len - 1] == '\n' && content[len - 2] == '\n');
	if (indented)
		return several ? "|2+" : "|2";
	return several ? "|+" : "|";
}

static void write_content(const struct cloudinit_file *file, struct buf *out)
{
	buf_printf(out, "    content: %s\n", block_head(file->content, file->len));
	for (size_t at = 0; at < file->len;) {
		const char *line = file->content + at;
		const char *end = memchr(line, '\n', file->len - at);
		size_t len = end ? (size_t)(end - line) : file->len - at;
		if (len)
			buf_append_text(out, INDENT);
		buf_append(out, line, len);
		buf_append_text(out, "\n");
		at += len + 1;
	}
}

int cloudinit_write(const struct cloudinit_file *files, size_t count, struct buf *out,
	struct error *err)
{
	if (count > CLOUDINIT_FILES_MAX)
		return error_set(err, ERROR_INVALID,
			"user data: %zu files are more than the limit of %d", count,
			CLOUDINIT_FILES_MAX);
	size_t before = out->len, contents = 0;
	for (size_t i = 0; i < count; i++)
		contents += files[i].len;
	if (contents > CLOUDINIT_DOCUMENT_MAX)
		return error_set(err, ERROR_INVALID,
			"user data: %zu bytes are more than the limit of %d", contents,
			CLOUDINIT_DOCUMENT_MAX);
	buf_append_text(out, "#cloud-config\n\nwrite_files:\n");
	for (size_t i = 0; i < count; i++) {
		if (check_path(files[i].path, err) < 0 ||
			(files[i].content && check_content(&files[i], err) < 0))
			return -1;
		buf_printf(out, "  - path: %s\n", files[i].path);
		if (files[i].content && files[i].len)
			write_content(&files[i], out);
	}
	if (out->failed)
		return error_set(err, ERROR_CAPACITY, "user data: out of memory");
	if (out->len - before > CLOUDINIT_DOCUMENT_MAX)
		return error_set(err, ERROR_INVALID,
			"user data: %zu bytes are more than the limit of %d", out->len - before,
			CLOUDINIT_DOCUMENT_MAX);
	return 0;
}

void cloudinit_free(struct cloudinit *document)
{
	for (size_t i = 0; i < document->count; i++) {
		free(document->files[i].path);
		if (document->files[i].content)
			explicit_bzero(document->files[i].content, document->files[i].len);
		free(document->files[i].content);
	}
	free(document->files);
	*document = (struct cloudinit){0};
}
