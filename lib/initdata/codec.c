/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec.c - the form in which initdata travels: base64(gzip(TOML))
 *
 * Both sides of the decompression have a limit, so a small text cannot become a large one: reading
 * stops one byte after INITDATA_TOML_MAX. Several gzip members one after the other count as one
 * text, as Go's reader has it, so that no two readers of one annotation measure different things.
 */
#include <string.h>
#define ZLIB_CONST /* next_in may point to what is not ours to change */
#include <zlib.h>
#include "base/base64.h"
#include "initdata/initdata.h"

#define GZIP_WINDOW (15 + 16) /* zlib: largest window, gzip header and trailer */
#define CHUNK 16384

static void inflate_end(z_stream *stream)
{
	inflateEnd(stream);
}

static void deflate_end(z_stream *stream)
{
	deflateEnd(stream);
}

/* Appends what one call to inflate gives. Returns zlib's code. */
static int inflate_some(z_stream *stream, struct buf *out)
{
	uint8_t *at = buf_reserve(out, CHUNK);
	if (!at)
		return Z_MEM_ERROR;
	stream->next_out = at;
	stream->avail_out = CHUNK;
	int code = inflate(stream, Z_NO_FLUSH);
	out->len += CHUNK - stream->avail_out;
	return code;
}

static int gunzip(const struct buf *in, struct buf *out, struct error *err)
{
	cleanup(inflate_end) z_stream stream = {.next_in = in->data, .avail_in = (uInt)in->len};
	if (inflateInit2(&stream, GZIP_WINDOW) != Z_OK)
		return error_set(err, ERROR_CAPACITY, "initdata: gzip: out of memory");
	for (;;) {
		int code = inflate_some(&stream, out);
		if (out->len > INITDATA_TOML_MAX)
			return error_set(err, ERROR_INVALID,
				"initdata: more than the limit of %d bytes when decompressed",
				INITDATA_TOML_MAX);
		if (code == Z_STREAM_END && !stream.avail_in)
			return 0;
		if (code == Z_STREAM_END)
			code = inflateReset(&stream);
		if (code == Z_MEM_ERROR)
			return error_set(err, ERROR_CAPACITY, "initdata: gzip: out of memory");
		if (code == Z_BUF_ERROR || (code == Z_OK && !stream.avail_in && stream.avail_out))
			return error_set(err, ERROR_INVALID,
				"initdata: gzip: the data are cut short");
		if (code != Z_OK)
			return error_set(err, ERROR_INVALID, "initdata: gzip: %s",
				stream.msg ? stream.msg : "broken data");
	}
}

int initdata_decode(const char *text, size_t len, struct initdata *out, struct error *err)
{
	*out = (struct initdata){0};
	if (len > INITDATA_ENCODED_MAX)
		return error_set(err, ERROR_INVALID,
			"initdata: %zu bytes of encoded text are more than the limit of %d", len,
			INITDATA_ENCODED_MAX);
	cleanup(buf_free) struct buf packed = BUF_INIT, toml = BUF_INIT;
	if (base64_decode(text, len, INITDATA_ENCODED_MAX, &packed, err) < 0)
		return error_prefix(err, "initdata");
	if (!packed.len)
		return error_set(err, ERROR_INVALID, "initdata: the encoded text is empty");
	if (gunzip(&packed, &toml, err) < 0)
		return -1;
	return initdata_parse((const char *)toml.data, toml.len, out, err);
}

int initdata_encode(const char *toml, size_t len, struct buf *out, struct error *err)
{
	if (len > INITDATA_TOML_MAX)
		return error_set(err, ERROR_INVALID,
			"initdata: %zu bytes are more than the limit of %d", len,
			INITDATA_TOML_MAX);
	cleanup(deflate_end) z_stream stream = {0};
	if (deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, 9,
		    Z_DEFAULT_STRATEGY) != Z_OK)
		return error_set(err, ERROR_CAPACITY, "initdata: gzip: out of memory");
	cleanup(buf_free) struct buf packed = BUF_INIT;
	size_t bound = deflateBound(&stream, len);
	uint8_t *at = buf_reserve(&packed, bound);
	if (!at)
		return error_set(err, ERROR_CAPACITY, "initdata: gzip: out of memory");
	stream.next_in = (const Bytef *)toml;
	stream.avail_in = (uInt)len;
	stream.next_out = at;
	stream.avail_out = (uInt)bound;
	if (deflate(&stream, Z_FINISH) != Z_STREAM_END)
		return error_set(err, ERROR_INTERNAL, "initdata: gzip: compression did not end");
	base64_encode(packed.data, stream.total_out, out);
	return out->failed ? error_set(err, ERROR_CAPACITY, "initdata: out of memory") : 0;
}
