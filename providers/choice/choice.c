/* SPDX-License-Identifier: Apache-2.0 */
/*
 * choice.c - see choice.h
 *
 * A scan, never a search: with several needs at once (vCPU, memory, GPU, TEE) "large enough" is not
 * monotonic in any order, so bisection can pass by a smaller type that fits.
 *
 * Every rule is a function that gives the reason why an offering is out, or NULL. The first reason
 * found is the one that is shown.
 */
#include "providers/choice/choice.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bound.h"
#include "providers/choice/memory.h"

struct scan {
	const struct choice_request *request;
	struct choice_memory *memory;
	bool sized;       /* the pod's sizes decide, not a type */
	const char *type; /* the one type that may be taken; NULL: sizes decide */
};

static bool is_set(const char *text)
{
	return text && *text;
}

static bool listed(const char *const *list, const char *text)
{
	for (; list && *list; list++) {
		if (!strcmp(*list, text))
			return true;
	}
	return false;
}

__attribute__((format(printf, 1, 2))) static char *reason(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	char *text;
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	return text ? text : strdup("out of memory");
}

static char *why_not_type(const struct scan *scan, const struct offering *o)
{
	const struct choice_request *r = scan->request;
	if (scan->type && strcmp(scan->type, o->type) != 0)
		return reason("type %s was asked for", scan->type);
	bool any_listed = r->allowed && *r->allowed;
	bool is_default = is_set(r->default_type) && !strcmp(r->default_type, o->type);
	if (any_listed ? !listed(r->allowed, o->type) : !is_default)
		return reason(any_listed ? "not in the list of allowed types"
					 : "only the default type is allowed");
	return NULL;
}

static char *why_not_size(const struct scan *scan, const struct offering *o)
{
	const struct choice_request *r = scan->request;
	if (!scan->sized)
		return NULL;
	if (o->vcpus < r->vcpus)
		return reason("%" PRId64 " vCPU, %" PRId64 " needed", o->vcpus, r->vcpus);
	if (o->memory_mib < r->memory_mib)
		return reason("%" PRId64 " MiB, %" PRId64 " needed", o->memory_mib, r->memory_mib);
	if (o->gpus < r->gpus)
		return reason("%" PRId64 " GPU, %" PRId64 " needed", o->gpus, r->gpus);
	if (!r->gpus && o->gpus)
		return reason("has GPUs, none needed");
	return NULL;
}

static char *why_not_place(const struct scan *scan, const struct offering *o)
{
	const struct choice_request *r = scan->request;
	if (r->zones && *r->zones && !listed(r->zones, o->zone))
		return reason("zone %s is not among the zones to use", o->zone);
	bool on_demand = r->on_demand || !r->spot;
	if (o->spot && !r->spot)
		return reason("spot is not wanted");
	if (!o->spot && !on_demand)
		return reason("on-demand is not wanted");
	return NULL;
}

static char *why_not_able(const struct scan *scan, const struct offering *o)
{
	const struct choice_request *r = scan->request;
	if (r->tees && !(r->tees & o->tees))
		return reason("cannot make a confidential VM of the kind asked for");
	if (o->max_nics && o->max_nics < r->nics)
		return reason("takes %" PRId64 " NICs, %" PRId64 " needed", o->max_nics, r->nics);
	if (o->max_volumes && o->max_volumes < r->volumes)
		return reason("takes %" PRId64 " volumes, %" PRId64 " needed", o->max_volumes,
			r->volumes);
	return NULL;
}

static char *why_not_now(const struct scan *scan, const struct offering *o)
{
	uint64_t left_ns;
	enum error_kind kind =
		scan->memory ? choice_memory_look(scan->memory, o, &left_ns) : ERROR_NONE;
	if (kind == ERROR_NONE)
		return NULL;
	return reason("refused a short while ago (%s); tried again in %" PRIu64 " s",
		error_kind_name(kind), left_ns / NS_PER_S + 1);
}

static char *why_not(const struct scan *scan, const struct offering *o)
{
	static char *(*const rules[])(const struct scan *, const struct offering *) = {why_not_type,
		why_not_place, why_not_size, why_not_able, why_not_now};
	for (size_t i = 0; i < array_size(rules); i++) {
		char *text = rules[i](scan, o);
		if (text)
			return text;
	}
	return NULL;
}

static int by_number(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

static int compare(const void *left, const void *right)
{
	const struct ranked_offering *l = left, *r = right;
	const struct offering *a = l->offering, *b = r->offering;
	int order = by_number(l->reason != NULL, r->reason != NULL);
	if (!order)
		order = by_number(!a->price_micros, !b->price_micros);
	const int64_t keys[][2] = {{a->price_micros, b->price_micros}, {a->gpus, b->gpus},
		{a->memory_mib, b->memory_mib}, {a->vcpus, b->vcpus}};
	for (size_t i = 0; !order && i < array_size(keys); i++)
		order = by_number(keys[i][0], keys[i][1]);
	if (!order)
		order = strcmp(a->type, b->type);
	if (!order)
		order = strcmp(a->zone, b->zone);
	return order ? order : by_number(a->spot, b->spot);
}

/* The upstream rules: a type wins; then sizes, if both are given (or GPUs); else the default. */
static struct scan scan_of(const struct choice_request *r, struct choice_memory *memory)
{
	struct scan scan = {.request = r, .memory = memory};
	if (is_set(r->type))
		scan.type = r->type;
	else if (r->gpus > 0 || (r->vcpus > 0 && r->memory_mib > 0))
		scan.sized = true;
	else if (is_set(r->default_type))
		scan.type = r->default_type;
	return scan;
}

int choice_rank(const struct offering *catalogue, size_t count,
	const struct choice_request *request, struct choice_memory *memory, struct choice *out,
	struct error *err)
{
	*out = (struct choice){0};
	struct scan scan = scan_of(request, memory);
	if (!scan.sized && !scan.type)
		return error_set(err, ERROR_INVALID,
			"neither a type nor both vCPUs and memory are asked for, and there is no default type");
	struct ranked_offering *ranked = calloc(count ? count : 1, sizeof(*ranked));
	if (!ranked)
		return error_set(err, ERROR_CAPACITY, "choose an instance type: out of memory");
	out->ranked = ranked;
	for (size_t i = 0; i < count; i++) {
		struct ranked_offering one = {&catalogue[i], why_not(&scan, &catalogue[i])};
		out->fits += !one.reason;
		ranked[out->count++] = one;
	}
	qsort(ranked, out->count, sizeof(*ranked), compare);
	if (out->fits)
		return 0;
	cleanup(buf_free) struct buf text = BUF_INIT;
	choice_explain(out, 3, &text);
	return error_set(err, ERROR_INVALID, "no instance type fits:\n%s", buf_text(&text));
}

void choice_free(struct choice *choice)
{
	for (size_t i = 0; i < choice->count; i++)
		free(choice->ranked[i].reason);
	free(choice->ranked);
	*choice = (struct choice){0};
}

void choice_explain(const struct choice *choice, size_t most, struct buf *out)
{
	size_t left_out = choice->count - choice->fits;
	size_t shown = most && left_out > most ? most : left_out;
	for (size_t i = 0; i < choice->fits + shown; i++) {
		const struct offering *o = choice->ranked[i].offering;
		buf_printf(out,
			"%3zu. %-22s %-12s %-9s %4" PRId64 " vCPU %8" PRId64 " MiB %2" PRId64
			" GPU  ",
			i + 1, o->type, *o->zone ? o->zone : "any", o->spot ? "spot" : "on-demand",
			o->vcpus, o->memory_mib, o->gpus);
		if (o->price_micros)
			buf_printf(out, "%" PRId64 ".%06" PRId64 "/h", o->price_micros / 1000000,
				o->price_micros % 1000000);
		else
			buf_printf(out, "price unknown");
		if (choice->ranked[i].reason)
			buf_printf(out, "  left out: %s", choice->ranked[i].reason);
		buf_printf(out, "\n");
	}
	if (shown < left_out)
		buf_printf(out, "     and %zu more left out\n", left_out - shown);
}
