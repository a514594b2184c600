/* SPDX-License-Identifier: Apache-2.0 */
/*
 * modules.h - kernel modules, from a list in the order of loading
 *
 * The image build writes the list, dependencies first. A line names a file, relative to the list's
 * folder, and may add parameters; "[network]", "[media]" and "[pod]" begin the groups, in which the
 * boot loads them; "#" begins a comment.
 *
 *	[media]
 *	scsi_mod.ko scan=sync
 */
#ifndef PEERPOD_INIT_MODULES_H
#define PEERPOD_INIT_MODULES_H

#include <stddef.h>
#include "base/error.h"

enum modules_group { MODULES_NETWORK, MODULES_MEDIUM, MODULES_POD };

struct module {
	enum modules_group group;
	const char *file;       /* in the list's text */
	const char *parameters; /* likewise; "" where there are none */
};

struct module_list {
	char *text; /* owned */
	struct module *modules;
	size_t count;
};

/* name is the list's, for messages. */
int modules_parse(const char *name, const char *text, struct module_list *list, struct error *err);
void modules_free(struct module_list *list);

/*
 * Loads the modules of one group. One that is loaded or built in already is fine; one that the
 * hardware does not suit is skipped with a line in the log; a missing file is an error. *loaded
 * counts the new ones.
 */
int modules_load(const char *path, enum modules_group group, size_t *loaded, struct error *err);

#endif
