/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider-tool - drives one driver by hand
 *
 *   provider-tool DRIVER.so [driver options] -- VERB [arguments]
 *   provider-tool DRIVER.so -help | -markdown
 *
 * DRIVER.so is a path. The result goes to standard output as one line of JSON; an error goes there as {"error": KIND,
 * "message": TEXT} with exit status 1. Log lines go to standard error. The verbs are the table at the end of this file.
 */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "providers/loader.h"

/* Arguments of a verb: KEY=VALUE words, and the rest. */
struct arguments {
	int count;
	char **words;
};

static const char *argument(const struct arguments *a, const char *key, const char *def)
{
	size_t len = strlen(key);
	for (int i = 0; i < a->count; i++) {
		if (!strncmp(a->words[i], key, len) && a->words[i][len] == '=')
			return a->words[i] + len + 1;
	}
	return def;
}

static int64_t number(const struct arguments *a, const char *key, int64_t def)
{
	const char *text = argument(a, key, NULL);
	return text ? strtoll(text, NULL, 10) : def;
}

static struct bound bound_of(const struct arguments *a, int64_t seconds)
{
	return (struct bound){.deadline_ns = deadline_in((uint64_t)(number(a, "seconds", seconds) *
								    (int64_t)NS_PER_S))};
}

static json_t *instance_json(const struct instance *i)
{
	json_t *o = json_pack("{s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:I}", "id", i->id,
		"name", i->name, "sandbox", i->sandbox, "node", i->node, "cluster", i->cluster,
		"pod", i->pod, "namespace", i->pod_namespace, "token", i->token, "created",
		(json_int_t)i->created);
	json_t *addresses = json_array();
	for (char **p = i->addresses; p && *p; p++)
		json_array_append_new(addresses, json_string(*p));
	json_object_set_new(o, "addresses", addresses);
	return o;
}

/* A line of its own, whatever the other workers print meanwhile. */
static void print(json_t *value)
{
	flockfile(stdout);
	json_dumpf(value, stdout, JSON_COMPACT | JSON_SORT_KEYS);
	putchar_unlocked('\n');
	fflush(stdout);
	funlockfile(stdout);
	json_decref(value);
}

static int print_instance(struct instance *instance)
{
	print(instance_json(instance));
	instance_free(instance);
	return 0;
}

/* ---- verbs ----------------------------------------------------------------------------------------------- */

static int volumes_parse(const char *text, char **copy, struct instance_volume *volumes, size_t max,
	size_t *count)
{
	*count = 0;
	*copy = strdup(text);
	char *rest = NULL;
	for (char *one = strtok_r(*copy, ",", &rest); one && *count < max;
		one = strtok_r(NULL, ",", &rest)) {
		char *serial = strrchr(one, ':');
		if (serial)
			*serial++ = '\0';
		volumes[(*count)++] = (struct instance_volume){one, serial ? serial : ""};
	}
	return 0;
}

static enum instance_tee tee_parse(const char *text)
{
	return !strcmp(text, "none")  ? TEE_NONE
	       : !strcmp(text, "snp") ? TEE_SNP
	       : !strcmp(text, "tdx") ? TEE_TDX
	       : !strcmp(text, "sev") ? TEE_SEV
				      : TEE_DEFAULT;
}

static enum instance_market market_parse(const char *text)
{
	return !strcmp(text, "spot")        ? MARKET_SPOT
	       : !strcmp(text, "on-demand") ? MARKET_ON_DEMAND
					    : MARKET_DEFAULT;
}

static int do_create(const struct provider_table *t, struct provider *p, const struct arguments *a,
	struct error *err)
{
	struct bound bound = bound_of(a, 120);
	cleanup(buf_free) struct buf user_data = BUF_INIT, digest = BUF_INIT;
	struct instance_volume volumes[16];
	cleanup(free_ptr) char *volume_text = NULL;
	size_t volume_count;
	const char *file = argument(a, "user-data", "");
	const char *digest_text = argument(a, "digest", "");
	if (*file && file_read(file, 64 << 20, &user_data, err) < 0)
		return -1;
	if (*digest_text && base64_decode(digest_text, strlen(digest_text), 64, &digest, err) < 0)
		return error_prefix(err, "digest");
	volumes_parse(argument(a, "volumes", ""), &volume_text, volumes, array_size(volumes),
		&volume_count);
	const char *token = argument(a, "token", "");
	struct instance_request request = {
		.owner = {argument(a, "cluster", "test"), argument(a, "node", "node"),
			argument(a, "namespace", "default"), argument(a, "pod", "pod"),
			argument(a, "sandbox", token)},
		.token = token,
		.name = argument(a, "name", "podvm-test"),
		.user_data = user_data.len ? (void *)user_data.data : "#cloud-config\n",
		.user_data_len = user_data.len ? user_data.len : 14,
		.vcpus = number(a, "vcpus", 0),
		.memory_mib = number(a, "memory", 0),
		.gpus = number(a, "gpus", 0),
		.instance_type = argument(a, "type", ""),
		.image = argument(a, "image", ""),
		.tee = tee_parse(argument(a, "tee", "")),
		.market = market_parse(argument(a, "market", "")),
		.initdata_digest = digest.data,
		.initdata_digest_len = digest.len,
		.volumes = volumes,
		.volume_count = volume_count,
		.second_nic = number(a, "second-nic", 0) != 0,
	};
	struct instance instance = {0};
	if (t->create(p, &request, &instance, &bound, err) < 0)
		return -1;
	size_t needed = (size_t)number(a, "wait", 0);
	if (needed) {
		cleanup(free_ptr) char *id = take_ptr(instance.id);
		instance_free(&instance);
		if (t->wait_addresses(p, id, needed, &instance, &bound, err) < 0)
			return -1;
	}
	return print_instance(&instance);
}

static int do_find(const struct provider_table *t, struct provider *p, const struct arguments *a,
	struct error *err)
{
	struct bound bound = bound_of(a, 30);
	struct instance instance = {0};
	if (t->find(p, argument(a, "token", ""), &instance, &bound, err) < 0)
		return -1;
	return print_instance(&instance);
}

static int do_wait(const struct provider_table *t, struct provider *p, const struct arguments *a,
	struct error *err)
{
	struct bound bound = bound_of(a, 60);
	struct instance instance = {0};
	if (t->wait_addresses(p, argument(a, "id", ""), (size_t)number(a, "needed", 1), &instance,
		    &bound, err) < 0)
		return -1;
	return print_instance(&instance);
}

static int do_list(const struct provider_table *t, struct provider *p, const struct arguments *a,
	struct error *err)
{
	struct bound bound = bound_of(a, 30);
	struct instance *instances = NULL;
	size_t count = 0;
	if (t->list(p, argument(a, "cluster", ""), argument(a, "node", ""), &instances, &count,
		    &bound, err) < 0)
		return -1;
	json_t *all = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(all, instance_json(&instances[i]));
	instances_free(instances, count);
	print(all);
	return 0;
}

static int do_delete(const struct provider_table *t, struct provider *p, const struct arguments *a,
	struct error *err)
{
	struct bound bound = bound_of(a, 60);
	if (t->delete (p, argument(a, "id", ""), &bound, err) < 0)
		return -1;
	print(json_object());
	return 0;
}

static int do_check(const struct provider_table *t, struct provider *p, const struct arguments *a,
	struct error *err)
{
	struct bound bound = bound_of(a, 60);
	cleanup_report report = {0};
	int result = t->check(p, &report, &bound, err);
	check_report_print(&report, stderr);
	if (result == 0)
		print(json_object());
	return result;
}

static int do_offerings(const struct provider_table *t, struct provider *p,
	const struct arguments *a, struct error *err)
{
	struct bound bound = bound_of(a, 60);
	cleanup(offerings_free) struct offerings offerings = {0};
	if (!t->offerings)
		return error_set(err, ERROR_UNSUPPORTED, "this driver has no instance types");
	if (t->offerings(p, &offerings, &bound, err) < 0)
		return -1;
	json_t *all = json_array();
	for (size_t i = 0; i < offerings.count; i++) {
		const struct offering *o = &offerings.list[i];
		json_array_append_new(all,
			json_pack("{s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:i, s:I, s:I, s:I, s:s}",
				"type", o->type, "family", o->family, "zone", o->zone, "spot",
				o->spot, "vcpus", (json_int_t)o->vcpus, "memory_mib",
				(json_int_t)o->memory_mib, "gpus", (json_int_t)o->gpus, "tees",
				(int)o->tees, "max_nics", (json_int_t)o->max_nics, "max_volumes",
				(json_int_t)o->max_volumes, "price_micros",
				(json_int_t)o->price_micros, "unfit", o->unfit ? o->unfit : ""));
	}
	print(all);
	return 0;
}

static int do_console(const struct provider_table *t, struct provider *p, const struct arguments *a,
	struct error *err)
{
	struct bound bound = bound_of(a, 10);
	if (!t->console_tail)
		return error_set(err, ERROR_UNSUPPORTED, "this driver keeps no console");
	char *tail =
		t->console_tail(p, argument(a, "id", ""), (size_t)number(a, "max", 4096), &bound);
	json_t *value = json_object();
	json_object_set_new(value, "tail", json_string(tail ? tail : ""));
	free(tail);
	print(value);
	return 0;
}

/* The driver is open; nothing else. */
static int do_open(const struct provider_table *t, struct provider *p, const struct arguments *a,
	struct error *err)
{
	(void)t;
	(void)p;
	(void)a;
	(void)err;
	print(json_object());
	return 0;
}

static int verb_run(const struct provider_table *t, struct provider *p, int count, char **words);

/* ---- several at once, and endless service ------------------------------------------------------------------ */

struct worker {
	pthread_t thread;
	const struct provider_table *table;
	struct provider *provider;
	char **words;
	int count, status;
};

static void *worker_run(void *opaque)
{
	struct worker *w = opaque;
	w->status = verb_run(w->table, w->provider, w->count, w->words);
	return NULL;
}

/* N verbs on threads of one process: %d in a word becomes the number of the worker. */
static int do_parallel(const struct provider_table *t, struct provider *p,
	const struct arguments *a, struct error *err)
{
	enum { MAX_WORKERS = 128, MAX_WORDS = 32 };
	struct worker workers[MAX_WORKERS] = {0};
	char *end = NULL;
	long n = a->count > 1 ? strtol(a->words[0], &end, 10) : 0;
	if (n < 1 || n > MAX_WORKERS || a->count - 1 > MAX_WORDS)
		return error_set(err, ERROR_INVALID, "parallel N VERB [arguments], N from 1 to %d",
			MAX_WORKERS);
	for (long i = 0; i < n; i++) {
		workers[i] = (struct worker){.table = t, .provider = p, .count = a->count - 1};
		workers[i].words = calloc((size_t)a->count, sizeof(char *));
		for (int k = 1; k < a->count; k++) {
			const char *mark = strstr(a->words[k], "%d");
			if (!mark)
				workers[i].words[k - 1] = strdup(a->words[k]);
			else if (asprintf(&workers[i].words[k - 1], "%.*s%ld%s",
					 (int)(mark - a->words[k]), a->words[k], i, mark + 2) < 0)
				abort();
		}
		if (pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]))
			abort();
	}
	int failed = 0;
	for (long i = 0; i < n; i++) {
		pthread_join(workers[i].thread, NULL);
		failed |= workers[i].status;
		for (int k = 0; k < workers[i].count; k++)
			free(workers[i].words[k]);
		free(workers[i].words);
	}
	return failed ? -2 : 0; /* each has printed its own error */
}

/* One verb a line of standard input, words separated by blanks, until its end. */
static int do_serve(const struct provider_table *t, struct provider *p, const struct arguments *a,
	struct error *err)
{
	(void)a;
	(void)err;
	char *line = NULL;
	size_t room = 0;
	while (getline(&line, &room, stdin) > 0) {
		char *words[64], *rest = NULL;
		int count = 0;
		for (char *word = strtok_r(line, " \n", &rest); word && count < 64;
			word = strtok_r(NULL, " \n", &rest))
			words[count++] = word;
		if (count)
			verb_run(t, p, count, words);
	}
	free(line);
	return 0;
}

static const struct verb {
	const char *name, *arguments;
	int (*run)(const struct provider_table *t, struct provider *p, const struct arguments *a,
		struct error *err);
} verbs[] = {
	{"create",
		"token= [name= cluster= node= namespace= pod= sandbox= user-data=FILE vcpus= memory= type= image= "
		"tee=none|snp|tdx|sev market=spot|on-demand digest=BASE64 volumes=ID:SERIAL,... second-nic=1 wait=ADDRESSES "
		"seconds=120]",
		do_create},
	{"find", "token= [seconds=30]", do_find},
	{"wait", "id= [needed=1 seconds=60]", do_wait},
	{"list", "[cluster= node= seconds=30]", do_list},
	{"delete", "id= [seconds=60]", do_delete},
	{"check", "[seconds=60]", do_check},
	{"offerings", "[seconds=60]", do_offerings},
	{"console", "id= [max=4096]", do_console},
	{"open", "", do_open},
	{"parallel", "N VERB [arguments, %d becomes the worker's number]", do_parallel},
	{"serve", "verbs from standard input, one a line", do_serve},
};

static int verb_run(const struct provider_table *t, struct provider *p, int count, char **words)
{
	cleanup_error err = ERROR_INIT;
	int result = -1;
	const struct arguments arguments = {count - 1, words + 1};
	const struct verb *verb = NULL;
	for (size_t i = 0; i < array_size(verbs); i++) {
		if (!strcmp(words[0], verbs[i].name))
			verb = &verbs[i];
	}
	if (verb)
		result = verb->run(t, p, &arguments, &err);
	else
		error_set(&err, ERROR_INVALID, "there is no verb \"%s\"", words[0]);
	if (result == -1)
		print(json_pack("{s:s, s:s}", "error", error_kind_name(err.kind), "message",
			error_message(&err)));
	return result ? 1 : 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: provider-tool DRIVER.so [driver options] -- VERB [arguments]\n");
	for (size_t i = 0; i < array_size(verbs); i++)
		fprintf(stderr, "  %-9s %s\n", verbs[i].name, verbs[i].arguments);
	return 2;
}

static int run(const char *folder, const char *name, int option_count, char **options, int count,
	char **words)
{
	cleanup_error err = ERROR_INIT;
	const struct provider_table *table = provider_load(folder, name, &err);
	int status = 1;
	if (table) {
		void *values = calloc(1, table->values_size ? table->values_size : 1);
		struct option_set set = {"Options", table->options, table->option_count, values};
		bool help = false;
		if (option_count == 1 && !strcmp(options[0], "-markdown")) {
			options_markdown(&set, 1, stdout);
			status = 0;
		} else if (options_parse(&set, 1, option_count, options, NULL, &help, &err) == 0 &&
			   help) {
			options_help(&set, 1, stdout);
			options_free(&set, 1);
			status = 0;
		} else if (!err.message) {
			struct bound bound = {.deadline_ns = deadline_in(60 * NS_PER_S)};
			struct provider *provider = table->open(values, &bound, &err);
			if (provider) {
				status = verb_run(table, provider, count, words);
				table->close(provider);
			}
			options_free(&set, 1);
		}
		free(values);
	}
	if (err.message)
		print(json_pack("{s:s, s:s}", "error", error_kind_name(err.kind), "message",
			error_message(&err)));
	return status;
}

int main(int argc, char **argv)
{
	int dashes = 2;
	while (dashes < argc && strcmp(argv[dashes], "--") != 0)
		dashes++;
	char path[PATH_MAX];
	bool help = argc == 3 && (!strcmp(argv[2], "-help") || !strcmp(argv[2], "-markdown"));
	if (argc < 3 || (dashes + 1 >= argc && !help))
		return usage();
	log_init("provider-tool", getenv("LOG_DEBUG") ? LOG_DEBUG : LOG_INFO, LOG_TEXT);
	if (!realpath(argv[1], path) || strlen(path) < 4 ||
		strcmp(path + strlen(path) - 3, ".so") != 0) {
		fprintf(stderr, "provider-tool: %s is no driver\n", argv[1]);
		return 2;
	}
	char *slash = strrchr(path, '/');
	*slash = '\0';
	slash[strlen(slash + 1) - 2] = '\0'; /* the name without .so */
	return run(path, slash + 1, dashes - 2, argv + 2, argc - dashes - 1, argv + dashes + 1);
}
