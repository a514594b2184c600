/* SPDX-License-Identifier: Apache-2.0 */
/*
 * choice.c - see choice.h
 *
 * A scan, never a search: with several needs at once (vCPU, memory, GPU, TEE) "large enough" is not
 * monotonic in any order, so bisection can pass by a smaller type that fits.
 *
 * Every rule is a function that says what is against an offering. All that is against it is shown; the fewer rules and
 * the less missing, the nearer it was.
 */
#include "providers/choice/choice.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bound.h"
#include "providers/choice/memory.h"
#include "providers/choice/tee_names.h"

struct scan {
	const struct choice_request *request;
	struct choice_memory *memory;
	bool sized;       /* the pod's sizes decide, not a type */
	const char *type; /* the one type that may be taken; NULL: sizes decide */
};

/* What is against one offering. */
struct verdict {
	struct buf text;
	int64_t broken, shortfall;
	bool unlisted;
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

__attribute__((format(printf, 2, 3))) static void against(struct verdict *verdict,
	const char *format, ...)
{
	va_list args;
	cleanup(free_ptr) char *text = NULL;
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	if (verdict->text.len)
		buf_append_text(&verdict->text, "; ");
	buf_append_text(&verdict->text, text ? text : "out of memory");
}

static void check_type(const struct scan *scan, const struct offering *o, struct verdict *verdict)
{
	const struct choice_request *r = scan->request;
	bool any_listed = r->allowed && *r->allowed;
	bool is_default = is_set(r->default_type) && !strcmp(r->default_type, o->type);
	size_t before = verdict->text.len;
	if (scan->type && strcmp(scan->type, o->type) != 0)
		against(verdict, "type %s was asked for", scan->type);
	else if (any_listed ? !listed(r->allowed, o->type) : !r->any_type && !is_default)
		against(verdict, any_listed ? "not in the list of allowed types"
					    : "only the default type is allowed");
	verdict->unlisted = verdict->text.len > before;
}

static void check_place(const struct scan *scan, const struct offering *o, struct verdict *verdict)
{
	const struct choice_request *r = scan->request;
	if (r->zones && *r->zones && !listed(r->zones, o->zone))
		against(verdict, "zone %s is not among the zones to use", o->zone);
	bool on_demand = r->on_demand || !r->spot;
	if (o->spot && !r->spot)
		against(verdict, "spot is not wanted");
	if (!o->spot && !on_demand)
		against(verdict, "on-demand is not wanted");
}

static void check_amount(int64_t have, int64_t need, const char *of, struct verdict *verdict)
{
	if (have >= need)
		return;
	against(verdict, "%" PRId64 " %s, %" PRId64 " needed", have, of, need);
	verdict->shortfall += (int64_t)((double)(need - have) * 1000 / (double)need);
}

static void check_size(const struct scan *scan, const struct offering *o, struct verdict *verdict)
{
	const struct choice_request *r = scan->request;
	bool unknown = is_set(o->unfit) && !o->vcpus;
	if (!scan->sized || unknown)
		return;
	check_amount(o->vcpus, r->vcpus, "vCPU", verdict);
	check_amount(o->memory_mib, r->memory_mib, "MiB", verdict);
	check_amount(o->gpus, r->gpus, "GPU", verdict);
	if (!r->gpus && o->gpus)
		against(verdict, "has GPUs, none needed");
}

static void check_driver(const struct scan *scan, const struct offering *o, struct verdict *verdict)
{
	(void)scan;
	if (is_set(o->unfit))
		against(verdict, "%s", o->unfit);
}

static void check_able(const struct scan *scan, const struct offering *o, struct verdict *verdict)
{
	const struct choice_request *r = scan->request;
	if (r->tees && !(r->tees & o->tees))
		against(verdict, "cannot make a confidential VM of the kind asked for");
	if (o->max_nics && o->max_nics < r->nics)
		against(verdict, "takes %" PRId64 " NICs, %" PRId64 " needed", o->max_nics,
			r->nics);
	if (o->max_volumes && o->max_volumes < r->volumes)
		against(verdict, "takes %" PRId64 " volumes, %" PRId64 " needed", o->max_volumes,
			r->volumes);
}

static void check_now(const struct scan *scan, const struct offering *o, struct verdict *verdict)
{
	uint64_t left_ns;
	enum error_kind kind =
		scan->memory ? choice_memory_look(scan->memory, o, &left_ns) : ERROR_NONE;
	if (kind != ERROR_NONE)
		against(verdict, "refused a short while ago (%s); tried again in %" PRIu64 " s",
			error_kind_name(kind), left_ns / NS_PER_S + 1);
}

/* Every rule is asked, so that who mends one reason does not find the next one behind it. */
static struct ranked_offering judge(const struct scan *scan, const struct offering *o)
{
	static void (*const rules[])(const struct scan *, const struct offering *,
		struct verdict *) = {check_type, check_driver, check_place, check_size, check_able,
		check_now};
	struct verdict verdict = {0};
	for (size_t i = 0; i < array_size(rules); i++) {
		size_t before = verdict.text.len;
		rules[i](scan, o, &verdict);
		verdict.broken += verdict.text.len > before || verdict.text.failed;
	}
	struct ranked_offering one = {.offering = o,
		.unlisted = verdict.unlisted,
		.broken = verdict.broken,
		.shortfall = verdict.shortfall};
	if (verdict.broken) {
		one.reason = buf_take(&verdict.text);
		if (!one.reason)
			one.reason = strdup("out of memory");
	}
	buf_free(&verdict.text);
	return one;
}

static int by_number(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

static int64_t price_of(const struct offering *o)
{
	return o->price_micros ? o->price_micros : o->most_micros;
}

static int compare(const void *left, const void *right)
{
	const struct ranked_offering *l = left, *r = right;
	const struct offering *a = l->offering, *b = r->offering;
	const int64_t keys[][2] = {{l->unlisted, r->unlisted}, {l->broken, r->broken},
		{l->shortfall, r->shortfall}, {!price_of(a), !price_of(b)},
		{price_of(a), price_of(b)}, {a->gpus, b->gpus}, {a->memory_mib, b->memory_mib},
		{a->vcpus, b->vcpus}};
	int order = 0;
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
	else if (r->any_type || r->gpus > 0 || (r->vcpus > 0 && r->memory_mib > 0))
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
		ranked[i] = judge(&scan, &catalogue[i]);
		out->fits += !ranked[i].broken;
		out->count++;
	}
	qsort(ranked, out->count, sizeof(*ranked), compare);
	if (out->fits)
		return 0;
	if (!count)
		return error_set(err, ERROR_INVALID,
			"no instance type fits: the catalogue is empty");
	cleanup(buf_free) struct buf text = BUF_INIT;
	choice_explain(out, 3, &text);
	return error_set(err, ERROR_INVALID, "no instance type fits:\n%s", buf_text(&text));
}

void choice_spot_first(struct choice *choice)
{
	struct ranked_offering *r = choice->ranked;
	size_t spots = 0;
	for (size_t i = 0; i < choice->fits; i++) {
		if (!r[i].offering->spot)
			continue;
		struct ranked_offering moved = r[i];
		memmove(&r[spots + 1], &r[spots], (i - spots) * sizeof(*r));
		r[spots++] = moved;
	}
}

void choice_free(struct choice *choice)
{
	for (size_t i = 0; i < choice->count; i++)
		free(choice->ranked[i].reason);
	free(choice->ranked);
	*choice = (struct choice){0};
}

/* ---- as text ------------------------------------------------------------------------------------------------ */

void choice_price(int64_t micros, struct buf *out)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%" PRId64 ".%06" PRId64, micros / 1000000,
		micros % 1000000);
	int least = len - 2;
	while (len > least && text[len - 1] == '0')
		len--;
	buf_append(out, text, (size_t)len);
}

void choice_memory_size(int64_t mib, struct buf *out)
{
	if (mib < 1024)
		buf_printf(out, "%" PRId64 " MiB", mib);
	else if (mib % 1024 == 0)
		buf_printf(out, "%" PRId64 " GiB", mib / 1024);
	else
		buf_printf(out, "%.4g GiB", (double)mib / 1024);
}

enum column { TYPE, ZONE, MARKET, VCPUS, MEMORY, GPUS, TEES, PRICE, COLUMNS };

/* A line: the same offering in one or several zones. */
struct line {
	const struct ranked_offering *first;
	size_t zones;
};

static bool shares(const struct ranked_offering *a, const struct ranked_offering *b)
{
	const struct offering *x = a->offering, *y = b->offering;
	bool same = !strcmp(x->type, y->type) && x->spot == y->spot && x->vcpus == y->vcpus &&
		    x->memory_mib == y->memory_mib && x->gpus == y->gpus && x->tees == y->tees &&
		    x->price_micros == y->price_micros && x->most_micros == y->most_micros;
	return same && !a->reason == !b->reason && (!a->reason || !strcmp(a->reason, b->reason));
}

size_t choice_share(const struct choice *choice, size_t at)
{
	size_t end = at + 1;
	while (end < choice->count && shares(&choice->ranked[at], &choice->ranked[end]))
		end++;
	return end - at;
}

static void cell_print(const struct line *line, enum column column, struct buf *out)
{
	const struct offering *o = line->first->offering;
	switch (column) {
	case TYPE:
		buf_append_text(out, o->type);
		break;
	case ZONE:
		for (size_t i = 0; i < line->zones; i++) {
			const char *zone = line->first[i].offering->zone;
			bool any = !*zone && line->zones > 1;
			buf_printf(out, "%s%s", i ? ", " : "", any ? "any" : zone);
		}
		break;
	case MARKET:
		buf_append_text(out, o->spot ? "spot" : "on-demand");
		break;
	case VCPUS:
		if (o->vcpus)
			buf_printf(out, "%" PRId64 " vCPU", o->vcpus);
		break;
	case MEMORY:
		if (o->memory_mib)
			choice_memory_size(o->memory_mib, out);
		break;
	case GPUS:
		if (o->gpus)
			buf_printf(out, "%" PRId64 " GPU", o->gpus);
		break;
	case TEES:
		tees_print(o->tees, out);
		break;
	case PRICE:
		if (price_of(o)) {
			buf_append_text(out, o->price_micros ? "" : "at most ");
			choice_price(price_of(o), out);
			buf_append_text(out, "/h");
		} else {
			buf_append_text(out, "price unknown");
		}
		break;
	case COLUMNS:
		break;
	}
}

static void widen(const struct line *line, size_t *widths)
{
	for (enum column c = TYPE; c < COLUMNS; c++) {
		cleanup(buf_free) struct buf cell = BUF_INIT;
		cell_print(line, c, &cell);
		widths[c] = cell.len > widths[c] ? cell.len : widths[c];
	}
}

/* A column in which nothing is said takes no room. */
static void line_print(const struct line *line, const size_t *widths, struct buf *out)
{
	for (enum column c = TYPE; c < COLUMNS; c++) {
		bool number = c == VCPUS || c == MEMORY || c == GPUS || c == PRICE;
		cleanup(buf_free) struct buf cell = BUF_INIT;
		if (!widths[c])
			continue;
		cell_print(line, c, &cell);
		buf_printf(out, "  %*s", number ? (int)widths[c] : -(int)widths[c],
			buf_text(&cell));
	}
	if (line->first->reason)
		buf_printf(out, "  %s", line->first->reason);
	buf_printf(out, "\n");
}

static struct line line_at(const struct choice *choice, size_t at)
{
	return (struct line){&choice->ranked[at], choice_share(choice, at)};
}

/* Where the lines that are shown end, and how many are not. */
static size_t shown_end(const struct choice *choice, size_t most, size_t *more)
{
	size_t end = choice->fits, lines = 0;
	for (size_t at = end; at < choice->count; at += choice_share(choice, at)) {
		lines++;
		if (!most || lines <= most)
			end = at + choice_share(choice, at);
	}
	*more = most && lines > most ? lines - most : 0;
	return end;
}

void choice_explain(const struct choice *choice, size_t most, struct buf *out)
{
	size_t widths[COLUMNS] = {0}, more, number = 0;
	size_t end = shown_end(choice, most, &more);
	struct line line;
	for (size_t at = 0; at < end; at += line.zones) {
		line = line_at(choice, at);
		widen(&line, widths);
	}
	for (size_t at = 0; at < end; at += line.zones) {
		line = line_at(choice, at);
		if (at == choice->fits)
			buf_printf(out, "left out, the nearest first:\n");
		if (at < choice->fits)
			buf_printf(out, "%4zu.", ++number);
		else
			buf_printf(out, "    -");
		line_print(&line, widths, out);
	}
	if (more)
		buf_printf(out, "    and %zu more\n", more);
}
