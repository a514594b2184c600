/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider.h - the contract between the control plane and a driver
 *
 * A driver is a shared object <name>.so that exports one symbol, `peerpod_provider`, a table of
 * functions. It gets plain structs and returns plain structs; it knows nothing of ttrpc, Kubernetes
 * or the journal. Log lines and errors come from lib/base of the program that loads it.
 *
 * All calls may block, end at their bound, may come from several threads at once, and are idempotent:
 * create with the same token returns the same instance, delete of what is gone succeeds. The caller
 * decides on retries and fallback; a driver retries only what is certain to be safe and never beyond its
 * bound. Errors carry a kind (base/error.h):
 *
 *   ERROR_RETRY      a passing fault               ERROR_THROTTLED  slow down
 *   ERROR_CAPACITY   no room there now             ERROR_QUOTA      a limit of the account
 *   ERROR_DENIED     credentials or permissions    ERROR_INVALID    will fail again as it is
 *   ERROR_GONE       it does not exist
 */
#ifndef PEERPOD_PROVIDERS_PROVIDER_H
#define PEERPOD_PROVIDERS_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/bound.h"
#include "base/error.h"
#include "base/option.h"
#include "providers/check_report.h"
#include "providers/choice/choice.h"

/* Raised when a struct or a meaning below changes. The loader refuses another number. */
#define PROVIDER_ABI 3

/* One driver's state; each driver has its own definition. */
struct provider;

/* Whose an instance is: written as tags, labels or metadata on everything that is made. */
struct instance_owner {
	const char *cluster; /* cluster name; "" where unknown */
	const char *node;    /* worker node name */
	const char *pod_namespace;
	const char *pod;
	const char *sandbox; /* sandbox id */
};

enum instance_tee { TEE_DEFAULT, TEE_NONE, TEE_SNP, TEE_TDX, TEE_SEV };

enum instance_market { MARKET_DEFAULT, MARKET_ON_DEMAND, MARKET_SPOT };

/* A disk that exists already and is attached in this order; never deleted with the instance. */
struct instance_volume {
	const char *id;     /* the driver's disk id; libvirt: a path or a volume name */
	const char *serial; /* shown to the guest; at most 20 characters; may be "" */
};

struct instance_request {
	struct instance_owner owner;
	const char *token; /* creation token, derived from the sandbox id: 32 hex digits */
	const char *name;  /* wished name (podvm-<pod>-<8 of sandbox>), at most 63 */
	const void *
		user_data; /* cloud-config, with the tunnel's private key: mode 0600 wherever it lands */
	size_t user_data_len;
	int64_t vcpus;      /* 0: the driver's default */
	int64_t memory_mib; /* 0: the driver's default */
	int64_t gpus;
	const char *instance_type;   /* "": the driver's choice */
	const char *image;           /* "": the configured one */
	enum instance_tee tee;       /* TEE_DEFAULT: as the options say */
	enum instance_market market; /* likewise; a driver without markets refuses MARKET_SPOT */
	const unsigned char *initdata_digest; /* for host data fields of the TEE; NULL: none */
	size_t initdata_digest_len;
	const struct instance_volume *volumes;
	size_t volume_count;
	bool second_nic; /* for the dedicated tunnel or the external network */
};

/* An instance as it is. Strings owned by the struct: instance_free. */
struct instance {
	char *id; /* the driver's id; libvirt: the domain's UUID */
	char *name;
	char **addresses; /* NULL-terminated text addresses, in the order of the NICs; NULL: none yet */
	/* Filled by list; empty elsewhere unless cheap to have: */
	char *sandbox, *node, *cluster, *pod, *pod_namespace, *token;
	int64_t created; /* Unix time, 0: unknown */
};

void instance_free(struct instance *instance);
void instances_free(struct instance *instances, size_t count);

/* What may be had where. Strings are the provider's, but for the region; instance.c: offerings_free. */
struct offerings {
	struct offering *list;
	size_t count;
	char *region; /* whose prices these are; "us-central1, us-east1" */
	/* Of the file of prices, see choice/prices.h; "" where there is none. */
	const char *prices_date, *prices_source, *currency;
};

void offerings_free(struct offerings *offerings);

struct provider_table {
	uint32_t abi;      /* PROVIDER_ABI */
	const char *name;  /* "libvirt" */
	const char *title; /* one line for the help */

	/* Options of the driver; values land in a zeroed block of values_size bytes. */
	const struct option *options;
	size_t option_count;
	size_t values_size;

	/*
	 * Opens with parsed values, which outlive the provider. Checks the values themselves (not the
	 * cloud) and returns; may connect. NULL on failure.
	 */
	struct provider *(*open)(const void *values, const struct bound *bound, struct error *err);
	void (*close)(struct provider *provider);

	/*
	 * Checks the configuration against the cloud, a row for everything it looked at. Makes nothing. 0 where
	 * nothing is wrong; else -1, as check_conclude says.
	 */
	int (*check)(struct provider *provider, struct check_report *report,
		const struct bound *bound, struct error *err);

	/*
	 * What may be had in the configured region, with prices where they are known: the catalogue of
	 * choice_rank, for `peerpodctl choose`. NULL in the table: the driver has no types.
	 */
	int (*offerings)(struct provider *provider, struct offerings *offerings,
		const struct bound *bound, struct error *err);

	/*
	 * Makes the instance, or finds the one of this token. Returns as soon as the id is known: addresses
	 * may still be missing. When it fails, nothing of it is left; where even that could not be
	 * reached, the message says what remains and list will show it.
	 */
	int (*create)(struct provider *provider, const struct instance_request *request,
		struct instance *instance, const struct bound *bound, struct error *err);

	/* Waits until addresses are known (with second_nic: two) and fills them in. No fixed sleeps. */
	int (*wait_addresses)(struct provider *provider, const char *id, size_t needed,
		struct instance *instance, const struct bound *bound, struct error *err);

	/* By token, also what an unfinished creation left. ERROR_GONE where there is nothing. */
	int (*find)(struct provider *provider, const char *token, struct instance *instance,
		const struct bound *bound, struct error *err);

	/* Deletes the instance and all that was made for it; never what is not tagged ours. */
	int (*delete)(struct provider *provider, const char *id, const struct bound *bound,
		struct error *err);

	/*
	 * Every instance of ours, of this cluster ("": any) and node ("": any), also leftovers of
	 * half-made ones. *instances is new: instances_free.
	 */
	int (*list)(struct provider *provider, const char *cluster, const char *node,
		struct instance **instances, size_t *count, const struct bound *bound,
		struct error *err);

	/*
	 * What the instance printed last (serial console), for messages about a boot that failed. New
	 * string, at most max bytes, "" where there is nothing. May be NULL in the table.
	 */
	char *(*console_tail)(struct provider *provider, const char *id, size_t max,
		const struct bound *bound);
};

/* The one symbol a driver exports. */
extern const struct provider_table peerpod_provider;

#endif
