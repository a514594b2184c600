/* SPDX-License-Identifier: Apache-2.0 */
/*
 * choice.h - which instance type, in which zone, spot or on-demand: the exact cheapest fit, explained
 *
 * Drivers bring the catalogue (what a cloud offers), the operator the limits (allow-list, zones,
 * spot), the pod its needs. The answer is an ordered list of offerings to try: the first is the
 * cheapest that fits, the rest is where to go when there is no capacity. What was left out carries
 * its reason, so that the same text serves the log, `peerpodctl choose` and the pod's event.
 *
 * Pure functions on memory, except for the memory of refusals, which has a lock of its own.
 */
#ifndef PEERPOD_PROVIDERS_CHOICE_H
#define PEERPOD_PROVIDERS_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

/* What protects the memory of an instance; a type may offer several. */
enum choice_tee { CHOICE_TEE_SNP = 1, CHOICE_TEE_TDX = 2, CHOICE_TEE_SEV = 4 };

/* One type in one zone, on-demand or spot. Strings are the caller's. */
struct offering {
	const char *type;
	const char *family; /* what a quota counts: "m6a", "standardDCASv5Family" */
	const char *zone;   /* "": the cloud decides */
	bool spot;
	int64_t vcpus;
	int64_t memory_mib;
	int64_t gpus;
	unsigned tees;        /* of enum choice_tee */
	int64_t max_nics;     /* 0: unknown */
	int64_t max_volumes;  /* 0: unknown */
	int64_t price_micros; /* millionths of the currency an hour; 0: unknown */
};

struct choice_request {
	int64_t vcpus, memory_mib, gpus; /* 0: no wish */
	unsigned tees;                   /* any of these; 0: none needed */
	const char *type;                /* the pod's own wish: wins over sizes; "" */
	const char *default_type;        /* where the pod wishes nothing; "" */
	const char *const *allowed;      /* NULL-terminated; NULL or empty: only the default type */
	const char *const *zones;        /* NULL: any */
	bool spot, on_demand;            /* which to consider; neither: on-demand */
	int64_t nics, volumes;           /* needed; 0: one NIC, no volume */
};

struct ranked_offering {
	const struct offering *offering; /* into the caller's catalogue */
	char *reason;                    /* why it was left out; NULL: it fits */
};

struct choice {
	struct ranked_offering *ranked; /* fits first, cheapest first; then what was left out */
	size_t count;
	size_t fits;
};

/*
 * Ranks the whole catalogue by linear scan. Order of fits: price (unknown prices after known ones), then GPUs,
 * memory, vCPUs, type, zone, on-demand before spot. ERROR_INVALID when nothing fits, with the
 * nearest misses named; *out is filled then, too. memory may be NULL.
 */
struct choice_memory;
int choice_rank(const struct offering *catalogue, size_t count,
	const struct choice_request *request, struct choice_memory *memory, struct choice *out,
	struct error *err);
void choice_free(struct choice *choice);

/* The ranking as text: a line per offering with price, size and reason; at most `most` left-out lines (0: all). */
void choice_explain(const struct choice *choice, size_t most, struct buf *out);

/*
 * What a cloud refused lately. Capacity is remembered for one offering, quota for a family (spot and
 * on-demand apart), each for the given time. Safe to share between threads.
 */
struct choice_memory *choice_memory_new(void);
void choice_memory_free(struct choice_memory *memory);
int choice_memory_refuse(struct choice_memory *memory, const struct offering *offering,
	enum error_kind kind, uint64_t for_ns);

/* Default time a refusal is remembered. */
#define CHOICE_REFUSAL_NS (UINT64_C(180) * 1000 * 1000 * 1000)

#endif
