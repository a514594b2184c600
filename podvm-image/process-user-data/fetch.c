/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch.c - getting a user data document that can be read, with patience
 *
 * A metadata service may come up after this program, and a file that is being uploaded may be there in part:
 * both pass. So fetching and parsing are tried together, again and again, with pauses that
 * double up to a limit and vary by a quarter, so that many machines that boot at once do not ask at
 * once. What stays unreadable is given up after a few tries: nobody is going to repair it.
 */
#include "fetch.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "base/file.h"
#include "base/log.h"
#include "imds.h"

#define PAUSE_FIRST_NS (500 * NS_PER_MS)
#define PAUSE_MAX_NS (10 * NS_PER_S)
#define LAST_TRY_NS (500 * NS_PER_MS) /* with less than this left, another try is not worth it */
#define UNREADABLE_MAX 4 /* tries, some 4 s: an upload of a few kilobytes is over by then */

static void wipe(struct buf *b)
{
	buf_wipe(b);
}

static int fetch_once(const struct source *source, const char *root, const char *endpoint,
	const struct bound *bound, struct cloudinit *document, struct error *err)
{
	cleanup(wipe) struct buf text = BUF_INIT;
	if (source->cloud) {
		if (imds_fetch(source->cloud, endpoint, bound, &text, err) < 0)
			return -1;
	} else {
		cleanup(free_ptr) char *path = NULL;
		if (asprintf(&path, "%s" USER_DATA_FILE, strcmp(root, "/") ? root : "") < 0)
			return error_set(err, ERROR_CAPACITY, "out of memory");
		if (file_read(path, CLOUDINIT_DOCUMENT_MAX, &text, err) < 0)
			return -1;
	}
	return cloudinit_read(buf_text(&text), text.len, document, err);
}

/* ns, give or take a quarter. */
static uint64_t vary(uint64_t ns)
{
	uint32_t random = 0;
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return ns;
	return ns - ns / 4 + random % (ns / 2 + 1);
}

int user_data_fetch(const struct source *source, const char *root, const char *endpoint,
	const struct bound *bound, struct cloudinit *document, struct error *err)
{
	uint64_t pause_ns = PAUSE_FIRST_NS;
	int unreadable = 0;
	for (int attempt = 1;; attempt++) {
		cleanup_error why = ERROR_INIT;
		if (fetch_once(source, root, endpoint, bound, document, &why) == 0)
			return 0;
		bool over = why.kind == ERROR_INVALID && ++unreadable == UNREADABLE_MAX;
		uint64_t pause = vary(pause_ns), left = bound_left_ns(bound);
		pause = pause < left / 2 ? pause : left / 2; /* room for one more try */
		if (over || left < LAST_TRY_NS) {
			error_move(err, &why);
			return error_prefix(err, "user data from %s, after %d attempts",
				source->name, attempt);
		}
		log_warn("user data from %s: %s; again in %.1f s", source->name,
			error_message(&why), (double)pause / (double)NS_PER_S);
		if (bound_sleep(bound, pause, "wait for user data", err) < 0)
			return -1;
		pause_ns = pause_ns * 2 < PAUSE_MAX_NS ? pause_ns * 2 : PAUSE_MAX_NS;
	}
}
