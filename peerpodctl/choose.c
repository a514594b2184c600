/* SPDX-License-Identifier: Apache-2.0 */
/*
 * choose.c - peerpodctl choose: which instance type a pod would get, what it costs, and why not another
 *
 * The ranking and its text are the drivers' own (providers/choice). A driver takes what its options allow; here every
 * type is looked at unless --types names some. With --requests, many wishes are answered in one run, one a line.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "peerpodctl/amount.h"
#include "base/cleanup.h"
#include "base/list.h"
#include "base/log.h"
#include "peerpodctl/print.h"
#include "peerpodctl/progress.h"
#include "providers/choice/tee_names.h"
#include "peerpodctl/request.h"
#include "peerpodctl/shelf.h"

/* Lines of the ranking unless --all is given. */
#define FITS_SHOWN 10
#define LEFT_OUT_SHOWN 5

static int request_of(struct invocation *in, struct request *r, struct error *err)
{
	const struct values *v = &in->values;
	const struct {
		const char *option, *text;
		int64_t most, *to;
	} counts[] = {
		{"--vcpu", v->vcpus, VCPUS_MOST, &r->vcpus},
		{"--gpu", v->gpus, GPUS_MOST, &r->gpus},
	};
	in->is_usage = true;
	for (size_t i = 0; i < array_size(counts); i++) {
		if (*counts[i].text &&
			count_parse(counts[i].text, counts[i].most, counts[i].to, err) < 0)
			return error_prefix(err, "option %s", counts[i].option);
	}
	if (*v->memory && memory_parse(v->memory, &r->memory_mib, err) < 0)
		return error_prefix(err, "option --memory");
	if (tee_parse(v->tee, &r->tees, err) < 0)
		return error_prefix(err, "option --tee");
	in->is_usage = false;
	r->spot = v->spot;
	r->types = list_split(v->types);
	r->zones = list_split(v->zones);
	return r->types && r->zones ? 0 : error_set(err, ERROR_CAPACITY, "out of memory");
}

/* ---- one answer -------------------------------------------------------------------------------------------- */

struct answer {
	struct choice choice;
	struct offering *zoned; /* NULL: the shelf's own */
	json_t *unknown;        /* names in the wish that mean nothing here */
};

static void answer_free(struct answer *answer)
{
	choice_free(&answer->choice);
	free(answer->zoned);
	json_decref(answer->unknown);
}

/* -1 only where there is no answer; that nothing fits is one. */
static int find_answer(const struct shelf *shelf, const struct request *request,
	struct answer *answer, struct error *err)
{
	size_t count = shelf->on.count;
	*answer = (struct answer){0};
	if (shelf_spell(shelf, request->types, err) < 0)
		return -1;
	answer->unknown = shelf_unknown(shelf, request->types, request->zones);
	if (shelf_zones(shelf, request->zones, &answer->zoned, &count, err) < 0)
		return -1;
	struct choice_request wish = request_wish(request);
	cleanup_error why = ERROR_INIT;
	if (choice_rank(answer->zoned ? answer->zoned : shelf->on.list, count, &wish, NULL,
		    &answer->choice, &why) < 0 &&
		!answer->choice.count)
		return error_move(err, &why);
	return 0;
}

static json_t *offering_json(const struct offering *o)
{
	json_t *price = o->price_micros ? json_real((double)o->price_micros / 1e6) : json_null();
	json_t *most = !o->price_micros && o->most_micros ? json_real((double)o->most_micros / 1e6)
							  : json_null();
	return json_pack("{s:s, s:o, s:o, s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:I}", "type", o->type,
		"family", json_text(o->family), "zone", json_text(o->zone), "market",
		o->spot ? "spot" : "on-demand", "vcpus", (json_int_t)o->vcpus, "memory_mib",
		(json_int_t)o->memory_mib, "gpus", (json_int_t)o->gpus, "tees",
		tees_to_json(o->tees), "price", price, "price_at_most", most, "price_micros",
		(json_int_t)o->price_micros);
}

static json_t *ranked_json(const struct ranked_offering *ranked)
{
	json_t *one = offering_json(ranked->offering);
	json_object_set_new(one, "left_out", json_text(ranked->reason));
	return one;
}

static json_t *shelf_json(const struct invocation *in, const struct shelf *shelf)
{
	const struct offerings *on = &shelf->on;
	return json_pack("{s:s, s:o, s:b, s:o, s:o, s:o, s:o}", "provider", in->values.provider,
		"region", json_text(shelf->on.region), "offline", in->values.offline, "prices_of",
		json_text(on->prices_date), "currency", json_text(on->currency), "source",
		json_text(on->prices_source), "catalogue_of", json_time(shelf->saved.saved_at));
}

static int print_answer_json(const struct invocation *in, const struct shelf *shelf,
	const struct answer *answer, struct error *err)
{
	const struct choice *choice = &answer->choice;
	json_t *value = shelf_json(in, shelf), *list = json_array();
	for (size_t i = 0; i < choice->count; i++)
		json_array_append_new(list, ranked_json(&choice->ranked[i]));
	json_object_set_new(value, "fits", json_integer((json_int_t)choice->fits));
	json_object_set(value, "unknown", answer->unknown);
	json_object_set_new(value, "ranking", list);
	return print_json(value, false, err);
}

/* "aws in us-east-2, 8 vCPU, 16 GiB: 9 of 95 offerings fit", and of when and where from its prices are */
static void print_head(const struct invocation *in, const struct shelf *shelf,
	const struct request *request, const struct choice *choice, bool cut)
{
	cleanup(buf_free) struct buf wish = BUF_INIT;
	const struct offerings *on = &shelf->on;
	request_print(request, &wish);
	printf("%s%s%s, %s: %zu of %zu offerings fit", in->values.provider,
		*shelf->on.region ? " in " : "", shelf->on.region, buf_text(&wish), choice->fits,
		choice->count);
	if (cut)
		printf(", the %d cheapest:", FITS_SHOWN);
	/* Of a long account how it begins; --json has all of it. */
	size_t len = strcspn(on->prices_source, ".:;");
	if (*on->prices_date)
		printf("\n%s for an hour, prices of %s: %.*s", on->currency, on->prices_date,
			(int)len, on->prices_source);
	putchar('\n');
}

/* " (not known here: m6a.larg, us-east-2z)" */
static void print_unknown(const struct answer *answer, struct buf *out)
{
	size_t i;
	const json_t *name;
	json_array_foreach(answer->unknown, i, name)
	{
		buf_printf(out, "%s%s", i ? ", " : " (not known here: ", json_string_value(name));
	}
	if (json_array_size(answer->unknown))
		buf_append_text(out, ")");
}

/* Whole lines: what shares one is shown or not together. */
static size_t fits_shown(const struct invocation *in, const struct choice *choice)
{
	size_t at = 0;
	for (size_t lines = 0; at < choice->fits && (in->values.all || lines < FITS_SHOWN); lines++)
		at += choice_share(choice, at);
	return at;
}

static int print_answer(const struct invocation *in, const struct shelf *shelf,
	const struct request *request, const struct answer *answer, struct error *err)
{
	const struct choice *choice = &answer->choice;
	cleanup(buf_free) struct buf text = BUF_INIT;
	size_t fits = fits_shown(in, choice);
	size_t left_out = choice->count - choice->fits;
	cleanup(free_ptr) struct ranked_offering *ranked =
		calloc(fits + left_out + 1, sizeof(*ranked));
	if (!ranked)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	memcpy(ranked, choice->ranked, fits * sizeof(*ranked));
	memcpy(ranked + fits, choice->ranked + choice->fits, left_out * sizeof(*ranked));
	const struct choice shown = {ranked, fits + left_out, fits};
	choice_explain(&shown, in->values.all ? 0 : LEFT_OUT_SHOWN, &text);
	print_head(in, shelf, request, choice, fits < choice->fits);
	fputs(buf_text(&text), stdout);
	return 0;
}

static int answer_one(struct invocation *in, const struct shelf *shelf, struct error *err)
{
	cleanup(request_free) struct request request = {0};
	cleanup(answer_free) struct answer answer = {0};
	if (request_of(in, &request, err) < 0 || find_answer(shelf, &request, &answer, err) < 0)
		return -1;
	int result = in->values.json ? print_answer_json(in, shelf, &answer, err)
				     : print_answer(in, shelf, &request, &answer, err);
	cleanup(buf_free) struct buf unknown = BUF_INIT;
	print_unknown(&answer, &unknown);
	if (result == 0 && !answer.choice.fits)
		return error_set(err, ERROR_INVALID, "no instance type fits%s", buf_text(&unknown));
	if (result == 0 && unknown.len)
		log_warn("choose:%s", buf_text(&unknown));
	return result;
}

/* ---- many answers ------------------------------------------------------------------------------------------ */

static int print_line_of(const struct invocation *in, size_t line, const struct answer *answer,
	struct error *err)
{
	const struct choice *choice = &answer->choice;
	const struct ranked_offering *best = choice->count ? &choice->ranked[0] : NULL;
	if (in->values.json) {
		json_t *value = json_pack("{s:I, s:I}", "line", (json_int_t)line, "fits",
			(json_int_t)choice->fits);
		if (best)
			json_object_set_new(value, choice->fits ? "best" : "nearest",
				ranked_json(best));
		if (json_array_size(answer->unknown))
			json_object_set(value, "unknown", answer->unknown);
		return print_json(value, true, err);
	}
	cleanup(buf_free) struct buf text = BUF_INIT;
	struct choice only = {choice->ranked, best ? 1 : 0, choice->fits ? 1 : 0};
	if (choice->fits)
		choice_explain(&only, 1, &text);
	else
		buf_printf(&text, "   nothing fits; nearest: %s: %s",
			best ? best->offering->type : "none", best ? best->reason : "");
	if (!choice->fits) {
		print_unknown(answer, &text);
		buf_append_text(&text, "\n");
	}
	printf("%zu: %s", line, buf_text(&text) + 3);
	return 0;
}

static const char *name_of(const char *file)
{
	return strcmp(file, "-") != 0 ? file : "standard input";
}

static int answer_line(const struct invocation *in, const struct shelf *shelf, const char *text,
	size_t len, size_t line, struct error *err)
{
	cleanup(request_free) struct request request = {0};
	cleanup(answer_free) struct answer answer = {0};
	if (request_read(text, len, &request, err) < 0 ||
		find_answer(shelf, &request, &answer, err) < 0)
		return error_prefix(err, "%s, line %zu", name_of(in->values.requests), line);
	return print_line_of(in, line, &answer, err);
}

static int answer_many(const struct invocation *in, const struct shelf *shelf, struct error *err)
{
	const char *path = in->values.requests;
	cleanup(fclose_ptr) FILE *file = fopen(strcmp(path, "-") != 0 ? path : "/dev/stdin", "re");
	cleanup(free_ptr) char *text = NULL;
	size_t room = 0, line = 0;
	ssize_t len;
	if (!file)
		return error_set_errno(err, errno, "open %s", name_of(path));
	progress_scope("answer the requests");
	while ((len = getline(&text, &room, file)) >= 0) {
		line++;
		if (strspn(text, " \t\r\n") == (size_t)len)
			continue;
		if (answer_line(in, shelf, text, (size_t)len, line, err) < 0)
			return -1;
	}
	if (ferror(file))
		return error_set_errno(err, errno, "read %s", name_of(path));
	return 0;
}

/* A wish in options beside wishes in a file would be lost. */
static int check_requests(struct invocation *in, struct error *err)
{
	const struct values *v = &in->values;
	const struct {
		const char *option, *text;
	} wishes[] = {{"--vcpu", v->vcpus}, {"--memory", v->memory}, {"--gpu", v->gpus},
		{"--tee", v->tee}, {"--types", v->types}, {"--zones", v->zones},
		{"--spot", v->spot ? "true" : ""}, {"--all", v->all ? "true" : ""}};
	for (size_t i = 0; *v->requests && i < array_size(wishes); i++) {
		if (*wishes[i].text)
			return usage_error(in,
				"%s goes without --requests, whose lines say what is wished",
				wishes[i].option);
	}
	return 0;
}

static int choose(struct invocation *in, struct error *err)
{
	cleanup(shelf_close) struct shelf shelf = {0};
	/* What is wrong with the wish is said before anybody is asked. */
	cleanup(request_free) struct request request = {0};
	if (check_requests(in, err) < 0 || request_of(in, &request, err) < 0 ||
		shelf_open(in, &shelf, err) < 0)
		return -1;
	return *in->values.requests ? answer_many(in, &shelf, err) : answer_one(in, &shelf, err);
}

static const struct option choose_options[] = {
	{"vcpu", NULL, NULL, "vCPUs needed", AT(vcpus)},
	{"memory", NULL, NULL, "memory needed: 16Gi, 512Mi", AT(memory)},
	{"gpu", NULL, NULL, "GPUs needed; without it a type with GPUs is left out", AT(gpus)},
	{"tee", NULL, NULL, "what must protect the memory: snp, tdx, sev or none", AT(tee)},
	{"types", NULL, NULL, "types that may be taken, comma-separated; empty: all", AT(types)},
	{"zones", NULL, NULL, "zones that may be used, comma-separated; empty: any", AT(zones)},
	{"spot", NULL, "false", "look at spot offerings, too", AT(spot), OPTION_BOOL},
	{"offline", NULL, "false",
		"ask nobody: prices and sizes of the file of prices, and the catalogue that "
		"the driver saved last",
		AT(offline), OPTION_BOOL},
	{"region", NULL, NULL,
		"region, with --offline; empty: AWS_REGION, AZURE_REGION, or that of GCP_ZONE",
		AT(region)},
	{"prices", NULL, NULL, "file of prices, with --offline; empty: the one beside the drivers",
		AT(prices)},
	{"catalogue-folder", NULL, CATALOGUE_FOLDER, "folder of the catalogues that drivers save",
		AT(catalogue_folder)},
	{"requests", NULL, NULL,
		"file with a request a line, as JSON, each answered with a line; \"-\": "
		"standard input",
		AT(requests)},
	{"all", NULL, "false", "the whole ranking, and everything that was left out", AT(all),
		OPTION_BOOL},
	OPTION_ROWS_DRIVER,
	OPTION_ROW_JSON,
};

const struct verb choose_verbs[] = {
	{"", "choose", "", 0, 0,
		"which instance type is the cheapest that fits, and why not another",
		choose_options, array_size(choose_options), true, choose},
	{0},
};
