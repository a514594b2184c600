/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs.h - the verbs of a driver under the names that every driver here gives them
 *
 * What each has to do stands in provider.h. A driver defines struct provider, these functions, and its table:
 *
 *   const struct provider_table peerpod_provider = {
 *           DRIVER_VERBS, .name = "aws", ...
 */
#ifndef PEERPOD_PROVIDERS_VERBS_H
#define PEERPOD_PROVIDERS_VERBS_H

#include "base/cleanup.h"
#include "providers/provider.h"

struct provider *driver_open(const void *values, const struct bound *bound, struct error *err);
void driver_close(struct provider *p); /* also of one that is half open, and of none */
DEFINE_CLEANUP(struct provider, driver_close)

int driver_check(struct provider *p, struct check_report *report, const struct bound *bound,
	struct error *err);
int driver_offerings(struct provider *p, struct offerings *offerings, const struct bound *bound,
	struct error *err);
int driver_create(struct provider *p, const struct instance_request *request,
	struct instance *instance, const struct bound *bound, struct error *err);
int driver_wait_addresses(struct provider *p, const char *id, size_t needed,
	struct instance *instance, const struct bound *bound, struct error *err);
int driver_find(struct provider *p, const char *token, struct instance *instance,
	const struct bound *bound, struct error *err);
int driver_delete(struct provider *p, const char *id, const struct bound *bound, struct error *err);
int driver_list(struct provider *p, const char *cluster, const char *node,
	struct instance **instances, size_t *count, const struct bound *bound, struct error *err);
char *driver_console_tail(struct provider *p, const char *id, size_t max,
	const struct bound *bound);

/* All but driver_offerings, which a driver without instance types does not have. */
#define DRIVER_VERBS                                                                            \
	.abi = PROVIDER_ABI, .open = driver_open, .close = driver_close, .check = driver_check, \
	.create = driver_create, .wait_addresses = driver_wait_addresses, .find = driver_find,  \
	.delete = driver_delete, .list = driver_list, .console_tail = driver_console_tail

#endif
