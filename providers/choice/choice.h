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
	int64_t most_micros;  /* of a spot offering without a price: that on demand; 0: unknown */
	const char *unfit;    /* what else is against it, found by the driver; NULL: nothing */
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
	bool any_type; /* `choose`: every type may be taken, by size alone, whatever is wished */
};

struct ranked_offering {
	const struct offering *offering; /* into the caller's catalogue */
	char *reason;                    /* all that is against it; NULL: it fits */
	bool unlisted;                   /* what may be taken does not name it */
	int64_t broken;                  /* how many rules are against it */
	int64_t shortfall; /* thousandths of what was asked for that it lacks, summed over vCPUs, memory, GPUs */
};

struct choice {
	struct ranked_offering
		*ranked; /* fits first, cheapest first; then what was left out, nearest first */
	size_t count;
	size_t fits;
};

/*
 * Ranks the whole catalogue by linear scan. Order of fits: price, or what it is at most (unknown prices after known ones), then GPUs,
 * memory, vCPUs, type, zone, on-demand before spot. What was left out comes in the order of how near it was: what
 * may be taken before what may not, fewest rules against it, least missing, then as fits do. ERROR_INVALID when nothing fits, with the
 * nearest misses named; *out is filled then, too. memory may be NULL.
 */
struct choice_memory;
int choice_rank(const struct offering *catalogue, size_t count,
	const struct choice_request *request, struct choice_memory *memory, struct choice *out,
	struct error *err);
void choice_free(struct choice *choice);

/* Of what fits, spot first, each market in its order: where on-demand is for when there is no spot. */
void choice_spot_first(struct choice *choice);

/*
 * The ranking as text, in columns: what fits with price and size; then, nearest first, what was left out and all that
 * was against it, at most `most` lines (0: all). What differs in nothing but its zone shares a line.
 */
void choice_explain(const struct choice *choice, size_t most, struct buf *out);

/* How many entries, from this one on, share its line. */
size_t choice_share(const struct choice *choice, size_t at);

/* "0.0864", "1.81287": at least four decimals, more where they say something. Appended. */
void choice_price(int64_t micros, struct buf *out);
/* "16 GiB", "1.5 GiB", "512 MiB". Appended. */
void choice_memory_size(int64_t mib, struct buf *out);

/* Whether two zones are of one region. */
typedef bool choice_same_region(const char *zone, const char *other);

/*
 * What a cloud refused lately. Capacity is remembered for one offering, quota for a family in a region (spot and
 * on-demand apart), each for the given time. same_region: NULL: all zones are of one region. Safe to share between
 * threads.
 */
struct choice_memory *choice_memory_new(choice_same_region *same_region);
void choice_memory_free(struct choice_memory *memory);
int choice_memory_refuse(struct choice_memory *memory, const struct offering *offering,
	enum error_kind kind, uint64_t for_ns);

/* Default time a refusal is remembered. */
#define CHOICE_REFUSAL_NS (UINT64_C(180) * 1000 * 1000 * 1000)

#endif
