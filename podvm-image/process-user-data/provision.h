/* SPDX-License-Identifier: Apache-2.0 */
/* provision.h - from a user data document to files in /run/peerpod */
#ifndef PEERPOD_PROCESS_USER_DATA_PROVISION_H
#define PEERPOD_PROCESS_USER_DATA_PROVISION_H

#include <stdbool.h>
#include "base/error.h"
#include "cloudinit/cloudinit.h"

struct provision_settings {
	const char *root;       /* "/": where the files go; another folder in tests */
	bool accept_unmeasured; /* aa.toml and cdh.toml from user data too, for old adaptors */
};

/*
 * Writes the files of the document that are allowed; others are named in the log and left out. The same path
 * twice: the last one counts.
 */
int provision_files(const struct provision_settings *settings, const struct cloudinit *document,
	struct error *err);

/*
 * Measures and unpacks /run/peerpod/initdata (made first where there is none): initdata.digest,
 * policy.rego, cdh.toml and aa.toml, the last one in any case, since the services wait for it.
 */
int provision_initdata(const struct provision_settings *settings, struct error *err);

#endif
