/* SPDX-License-Identifier: Apache-2.0 */
/* filter.c - see filter.h */
#include "podnetwork/filter.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include "base/bound.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include "podnetwork/filter_rules.h"
#include "podnetwork/netns.h"
#include "podnetwork/nftables.h"

#define TABLE "peerpod"
#define COMMENT_MAX 128 /* nftables: NFTNL_UDATA_COMMENT_MAXLEN */
#define LISTING_MAX (64 * 1024 * 1024)
/* The kernel drops what claims to come from here (RFC 1812, 5.3.7), before any input chain. */
#define NOBODY "255.255.255.255"

/* Anybody in the namespace can take the lock, and keep it: pods must start and end nevertheless. */
#define LOCK_WAIT_NS (10 * NS_PER_S)
#define LOCK_LOOK_NS (5 * NS_PER_MS)

/*
 * What is decided from a listing must still be so when it is done: one at a time, in this process
 * (the mutex) and in this netns (a lock on the namespace's own file, which ends with its holder).
 */
struct hold {
	int netns; /* -1: not held */
};

static pthread_mutex_t nft_lock = PTHREAD_MUTEX_INITIALIZER;

static void release(struct hold *hold)
{
	if (hold->netns < 0)
		return;
	close(hold->netns);
	pthread_mutex_unlock(&nft_lock);
}

static struct hold hold_table(struct error *err)
{
	struct hold hold = {netns_open_own(err)};
	if (hold.netns < 0)
		return hold;
	pthread_mutex_lock(&nft_lock);
	const struct bound bound = {.deadline_ns = deadline_in(LOCK_WAIT_NS)};
	while (flock(hold.netns, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EWOULDBLOCK) {
			error_set_errno(err, errno, "lock the network namespace");
			release(&hold);
			hold.netns = -1;
			break;
		}
		if (bound_sleep(&bound, LOCK_LOOK_NS, "the lock", NULL) < 0) {
			log_warn(
				"pod network: another process keeps the network namespace locked: going on "
				"without the lock");
			break;
		}
	}
	return hold;
}

bool filter_comment_valid(const char *sandbox)
{
	size_t len = strlen(sandbox);
	if (len == 0 || len > COMMENT_MAX)
		return false;
	for (const char *p = sandbox; *p; p++) {
		if (!isalnum((unsigned char)*p) && !strchr("-_.:", *p))
			return false;
	}
	return true;
}

/* ---- what is there ---- */

struct element {
	const char *set, *comment; /* comment: "" where there is none */
	const char *address;
	int64_t port, vni;
};

/* One entry of a set's "elem" list. false where it is none of ours. */
static bool read_element(const json_t *entry, const char *set, struct element *element)
{
	const json_t *body = json_object_get(entry, "elem");
	const json_t *value = body ? json_object_get(body, "val") : entry;
	const json_t *key = json_object_get(value, "concat");
	const char *comment = json_string_value(json_object_get(body, "comment"));
	*element = (struct element){
		.set = set,
		.comment = comment ? comment : "",
		.address = json_string_value(json_array_get(key, 0)),
		.port = json_integer_value(json_array_get(key, 1)),
		.vni = json_integer_value(json_array_get(key, 2)),
	};
	return json_array_size(key) == 3 && element->address;
}

/* nftables' listing of the table; *listing is NULL where there is no table. */
static int list_table(json_t **listing, struct error *err)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	bool gone = false;
	*listing = NULL;
	if (nftables_table_missing(TABLE))
		return 0;
	if (nftables_list(TABLE, &text, &gone, err))
		return -1;
	if (gone)
		return 0;
	*listing =
		json_parse("nftables' listing", buf_text(&text), text.len, LISTING_MAX, false, err);
	return *listing ? 0 : -1;
}

static void each_element(const json_t *listing,
	void (*visit)(const struct element *element, void *arg), void *arg)
{
	size_t i, n;
	json_t *object, *entry;
	json_array_foreach(json_object_get(listing, "nftables"), i, object)
	{
		const json_t *set = json_object_get(object, "set");
		const char *name = json_string_value(json_object_get(set, "name"));
		struct element element;
		if (!name)
			continue;
		json_array_foreach(json_object_get(set, "elem"), n, entry)
		{
			if (read_element(entry, name, &element))
				visit(&element, arg);
		}
	}
}

struct deletion {
	bool (*doomed)(const struct element *element, const void *arg);
	const void *arg;
	struct buf *commands;
	size_t left; /* elements that stay */
};

static void delete_doomed(const struct element *element, void *arg)
{
	struct deletion *deletion = arg;
	if (!deletion->doomed(element, deletion->arg))
		deletion->left++;
	else
		buf_printf(deletion->commands,
			"delete element inet peerpod %s { %s . %lld . %lld }\n", element->set,
			element->address, (long long)element->port, (long long)element->vni);
}

/* Appends "delete element" commands for what doomed(element) says. Returns how many others there are. */
static size_t delete_elements(const json_t *listing,
	bool (*doomed)(const struct element *element, const void *arg), const void *arg,
	struct buf *commands)
{
	struct deletion deletion = {doomed, arg, commands, 0};
	each_element(listing, delete_doomed, &deletion);
	return deletion.left;
}

static int apply(const struct buf *commands, struct error *err)
{
	if (commands->failed)
		return error_set(err, ERROR_CAPACITY, "out of memory for nftables commands");
	return commands->len ? nftables_run(buf_text(commands), err) : 0;
}

/* ---- what shall be ---- */

/*
 * Applies commands that rest on the rules. These are said first, which also mends them, unless they stand as this
 * process left them.
 */
static int apply_with_rules(const struct filter_rules *rules, const json_t *listing,
	const struct buf *commands, struct error *err)
{
	/* A failure: somebody takes the table away just now. */
	if (filter_rules_stand(rules, listing) && apply(commands, NULL) == 0)
		return 0;
	cleanup(buf_free) struct buf all = BUF_INIT;
	cleanup_json *after = NULL;
	filter_rules_write(&all, rules);
	buf_append(&all, commands->data, commands->len);
	all.failed |= commands->failed;
	uint32_t before = nftables_generation();
	filter_rules_remember(rules, NULL);
	if (apply(&all, err))
		return -1;
	/* Only what nobody else had a hand in is known to be right. */
	if (list_table(&after, NULL) == 0 && before && nftables_generation() == before + 1)
		filter_rules_remember(rules, after);
	return 0;
}

/* Tunnels from the time of a lower -vxlan-min-id stay guarded. */
static void lower(const struct element *element, void *arg)
{
	struct filter_rules *rules = arg;
	if (element->port == rules->port && element->vni < rules->vni_min)
		rules->vni_min = (uint32_t)element->vni;
}

static bool is_of(const struct element *element, const struct filter_tunnel *tunnel)
{
	return !strcmp(element->comment, tunnel->sandbox) && element->port == tunnel->port &&
	       element->vni == tunnel->vni;
}

static bool superseded(const struct element *element, const void *arg)
{
	const struct filter_tunnel *tunnel = arg;
	return !strcmp(element->comment, tunnel->sandbox) ||
	       (element->port == tunnel->port && element->vni == tunnel->vni);
}

static bool outdated(const struct element *element, const void *arg)
{
	return superseded(element, arg) && !is_of(element, arg);
}

struct search {
	const struct filter_tunnel *tunnel;
	bool found;
};

static void look(const struct element *element, void *arg)
{
	struct search *search = arg;
	search->found |= is_of(element, search->tunnel);
}

/* The tunnel's only element. source NULL: whichever it has, or else nobody. */
static int set_element(const struct filter_tunnel *tunnel, const char *set, const char *source,
	struct error *err)
{
	cleanup(buf_free) struct buf commands = BUF_INIT;
	if (!filter_comment_valid(tunnel->sandbox))
		return error_set(err, ERROR_INVALID,
			"sandbox id \"%.40s\": letters, digits and -_.: only, at most %d",
			tunnel->sandbox, COMMENT_MAX);
	cleanup_json *listing = NULL;
	cleanup(release) struct hold hold = hold_table(err);
	if (hold.netns < 0 || list_table(&listing, err))
		return -1;
	struct filter_rules rules = {hold.netns, tunnel->port, tunnel->vni_min};
	struct search search = {tunnel, false};
	each_element(listing, lower, &rules);
	if (tunnel->vni < rules.vni_min)
		rules.vni_min = tunnel->vni;
	if (!source)
		each_element(listing, look, &search);
	delete_elements(listing, search.found ? outdated : superseded, tunnel, &commands);
	if (!search.found)
		buf_printf(&commands,
			"add element inet peerpod %s { %s . %u . %u comment \"%s\" }\n", set,
			source ? source : NOBODY, tunnel->port, tunnel->vni, tunnel->sandbox);
	return apply_with_rules(&rules, listing, &commands, err);
}

int filter_prepare(const struct filter_tunnel *tunnel, struct error *err)
{
	return set_element(tunnel, "tun4", NULL, err);
}

int filter_allow(const struct filter_tunnel *tunnel, struct error *err)
{
	char remote[IP_TEXT_MAX];
	return set_element(tunnel, tunnel->remote.family == AF_INET6 ? "tun6" : "tun4",
		ip_address_format(&tunnel->remote, remote), err);
}

/* The last tunnel takes the table with it. */
static int remove_elements(bool (*doomed)(const struct element *element, const void *arg),
	const void *arg, struct error *err)
{
	cleanup(buf_free) struct buf commands = BUF_INIT;
	cleanup_json *listing = NULL;
	cleanup(release) struct hold hold = hold_table(err);
	if (hold.netns < 0 || list_table(&listing, err))
		return -1;
	if (listing && delete_elements(listing, doomed, arg, &commands) == 0) {
		buf_consume(&commands, commands.len);
		buf_append_text(&commands, "delete table inet peerpod\n");
	}
	return apply(&commands, err);
}

static bool of_sandbox(const struct element *element, const void *arg)
{
	return !strcmp(element->comment, arg);
}

int filter_forbid(const char *sandbox, struct error *err)
{
	return remove_elements(of_sandbox, sandbox, err);
}

struct sweep {
	int64_t port;
	bool (*keep)(const char *sandbox, void *arg);
	void *arg;
};

static bool swept(const struct element *element, const void *arg)
{
	const struct sweep *sweep = arg;
	return element->port == sweep->port && !sweep->keep(element->comment, sweep->arg);
}

int filter_sweep(uint16_t port, bool (*keep)(const char *sandbox, void *arg), void *arg,
	struct error *err)
{
	const struct sweep sweep = {port, keep, arg};
	return remove_elements(swept, &sweep, err);
}
