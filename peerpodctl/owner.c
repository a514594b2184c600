/* SPDX-License-Identifier: Apache-2.0 */
/* owner.c - see owner.h */
#include "peerpodctl/owner.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define CLUSTER_BYTES_MAX 256

static int replace(char **text, char *with, struct error *err)
{
	if (!with)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	free(*text);
	*text = with;
	return 0;
}

/* As the adaptor: the name that it made once for a cluster without one. */
static int read_cluster(struct values *values, struct error *err)
{
	cleanup(free_ptr) char *file = NULL;
	cleanup(buf_free) struct buf text = BUF_INIT;
	cleanup_error why = ERROR_INIT;
	if (asprintf(&file, "%s/cluster", values->state_dir) < 0) {
		file = NULL;
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	if (file_read(file, CLUSTER_BYTES_MAX, &text, &why) < 0) {
		if (why.kind == ERROR_GONE || why.kind == ERROR_DENIED)
			return 0;
		return error_move(err, &why);
	}
	return replace(&values->cluster, strndup(buf_text(&text), strcspn(buf_text(&text), "\n")),
		err);
}

int owner_complete(struct values *values, struct error *err)
{
	if (!*values->node) {
		char name[HOST_NAME_MAX + 1] = "";
		if (gethostname(name, sizeof(name) - 1) < 0)
			return error_set_errno(err, errno, "the name of this host");
		if (replace(&values->node, strdup(name), err) < 0)
			return -1;
	}
	return *values->cluster ? 0 : read_cluster(values, err);
}

int owner_cluster_known(struct invocation *in, struct error *err)
{
	if (*in->values.cluster)
		return 0;
	return usage_error(in,
		"which cluster? Name it with --cluster-name or CLUSTER_NAME; %s/cluster does not tell",
		in->values.state_dir);
}
