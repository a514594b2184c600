/* SPDX-License-Identifier: Apache-2.0 */
/*
 * userdata.h - the cloud-config that a pod VM boots with
 */
#ifndef PEERPOD_ADAPTOR_USERDATA_H
#define PEERPOD_ADAPTOR_USERDATA_H

#include "adaptor/settings.h"
#include "apf/apf.h"
#include "base/secret.h"

/*
 * apf.json, then initdata (the pod's TOML text if it is not empty, else the configured default) and the
 * mark for scratch space. Holds the tunnel's private key.
 */
int user_data_build(const struct settings *settings, const struct apf *apf,
	const char *initdata_toml, struct secret *user_data, struct error *err);

/* base64 of the digest of the initdata that user_data_build would send; "" where it sends none. */
int user_data_initdata_digest(const struct settings *settings, const char *initdata_toml,
	char **digest, struct error *err);

#endif
