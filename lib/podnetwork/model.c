/* SPDX-License-Identifier: Apache-2.0 */
/* model.c - see model.h */
#include "podnetwork/model.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>

const struct word route_protocols[] = {
	{"static", RTPROT_STATIC},
	{"boot", RTPROT_BOOT},
	{"dhcp", RTPROT_DHCP},
	{"kernel", RTPROT_KERNEL},
	{NULL, 0},
};

const struct word route_scopes[] = {
	{"universe", RT_SCOPE_UNIVERSE},
	{"site", RT_SCOPE_SITE},
	{"link", RT_SCOPE_LINK},
	{"host", RT_SCOPE_HOST},
	{"nowhere", RT_SCOPE_NOWHERE},
	{NULL, 0},
};

const struct word route_types[] = {
	{"blackhole", RTN_BLACKHOLE},
	{"unreachable", RTN_UNREACHABLE},
	{"prohibit", RTN_PROHIBIT},
	{"throw", RTN_THROW},
	{NULL, 0},
};

const struct word neighbor_states[] = {
	{"none", NUD_NONE},
	{"incomplete", NUD_INCOMPLETE},
	{"reachable", NUD_REACHABLE},
	{"stale", NUD_STALE},
	{"delay", NUD_DELAY},
	{"probe", NUD_PROBE},
	{"failed", NUD_FAILED},
	{"noarp", NUD_NOARP},
	{"permanent", NUD_PERMANENT},
	{NULL, 0},
};

int word_number(const struct word *table, const char *text)
{
	for (; table->text; table++) {
		if (!strcmp(table->text, text_or_empty(text)))
			return table->number;
	}
	return -1;
}

const char *word_text(const struct word *table, int number)
{
	for (; table->text; table++) {
		if (table->number == number)
			return table->text;
	}
	return NULL;
}

const char *text_or_empty(const char *text)
{
	return text ? text : "";
}

int text_set(char **slot, const char *text, struct error *err)
{
	char *copy = strdup(text);
	if (!copy)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	free(*slot);
	*slot = copy;
	return 0;
}

/* One more zeroed element of this size; the list pointer and count are updated. */
static void *list_grow(void *list_pointer, size_t *count, size_t size, size_t max, const char *what,
	struct error *err)
{
	void **list = list_pointer;
	if (*count >= max) {
		error_set(err, ERROR_INVALID, "more than %zu %s", max, what);
		return NULL;
	}
	char *grown = reallocarray(*list, *count + 1, size);
	if (!grown) {
		error_set(err, ERROR_CAPACITY, "out of memory for %s", what);
		return NULL;
	}
	*list = grown;
	return memset(grown + size * (*count)++, 0, size);
}

struct podnetwork_route *podnetwork_route_add(struct podnetwork *network, struct error *err)
{
	return list_grow(&network->routes, &network->route_count, sizeof(*network->routes),
		PODNETWORK_LIST_MAX, "routes", err);
}

struct podnetwork_neighbor *podnetwork_neighbor_add(struct podnetwork *network, struct error *err)
{
	return list_grow(&network->neighbors, &network->neighbor_count, sizeof(*network->neighbors),
		PODNETWORK_LIST_MAX, "neighbors", err);
}

struct podnetwork_rule *podnetwork_rule_add(struct podnetwork *network, struct error *err)
{
	return list_grow(&network->rules, &network->rule_count, sizeof(*network->rules),
		PODNETWORK_LIST_MAX, "rules", err);
}

size_t podnetwork_podip_count(const struct podnetwork *network)
{
	size_t count = 0;
	while (network->podips && network->podips[count])
		count++;
	return count;
}

int podnetwork_podip_add(struct podnetwork *network, const char *cidr, struct error *err)
{
	size_t count = podnetwork_podip_count(network);
	if (count >= PODNETWORK_ADDRESS_MAX)
		return error_set(err, ERROR_INVALID, "more than %d addresses",
			PODNETWORK_ADDRESS_MAX);
	char **grown = reallocarray(network->podips, count + 2, sizeof(*grown));
	if (!grown)
		return error_set(err, ERROR_CAPACITY, "out of memory for addresses");
	network->podips = grown;
	grown[count] = grown[count + 1] = NULL;
	return text_set(&grown[count], cidr, err);
}

void podnetwork_route_clear(struct podnetwork_route *route)
{
	free(route->dst);
	free(route->gw);
	free(route->dev);
	free(route->protocol);
	free(route->scope);
	free(route->src);
	free(route->type);
	*route = (struct podnetwork_route){0};
}

void podnetwork_free(struct podnetwork *network)
{
	if (!network)
		return;
	for (size_t i = 0; i < network->route_count; i++)
		podnetwork_route_clear(&network->routes[i]);
	for (size_t i = 0; i < network->neighbor_count; i++) {
		struct podnetwork_neighbor *n = &network->neighbors[i];
		free(n->ip);
		free(n->hw_addr);
		free(n->dev);
		free(n->state);
	}
	for (size_t i = 0; i < network->rule_count; i++) {
		struct podnetwork_rule *r = &network->rules[i];
		free(r->from);
		free(r->to);
		free(r->iif);
		free(r->oif);
	}
	for (size_t i = 0; network->podips && network->podips[i]; i++)
		free(network->podips[i]);
	free(network->podips);
	free(network->routes);
	free(network->neighbors);
	free(network->rules);
	free(network->podip);
	free(network->pod_hw_addr);
	free(network->interface);
	free(network->worker_node_ip);
	free(network->tunnel_type);
	free(network->encryption);
	*network = (struct podnetwork){0};
}

/* ---- order of routes ---- */

struct sort_entry {
	struct podnetwork_route route;
	struct ip_prefix dst;
	size_t position; /* qsort is not stable by itself */
};

static int compare_numbers(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

static int compare_listed(const void *left, const void *right)
{
	const struct sort_entry *a = left, *b = right;
	int order = compare_numbers(a->dst.family == AF_INET6, b->dst.family == AF_INET6);
	if (!order)
		order = compare_numbers(a->route.table, b->route.table);
	if (!order)
		order = memcmp(a->dst.bytes, b->dst.bytes, sizeof(a->dst.bytes));
	if (!order)
		order = compare_numbers(a->dst.len, b->dst.len);
	if (!order)
		order = compare_numbers(a->route.metric, b->route.metric);
	return order ? order : compare_numbers((int64_t)a->position, (int64_t)b->position);
}

static int compare_setup(const void *left, const void *right)
{
	const struct sort_entry *a = left, *b = right;
	int order =
		compare_numbers(*text_or_empty(a->route.gw) != 0, *text_or_empty(b->route.gw) != 0);
	if (!order)
		order = compare_numbers(b->dst.len, a->dst.len);
	if (!order)
		order = compare_numbers(a->route.metric, b->route.metric);
	return order ? order : compare_numbers((int64_t)a->position, (int64_t)b->position);
}

static int sort_routes(struct podnetwork *network, int (*compare)(const void *, const void *),
	struct error *err)
{
	if (network->route_count == 0)
		return 0;
	cleanup(free_ptr) struct sort_entry *entries =
		calloc(network->route_count, sizeof(*entries));
	if (!entries)
		return error_set(err, ERROR_CAPACITY, "out of memory for routes");
	for (size_t i = 0; i < network->route_count; i++) {
		entries[i] = (struct sort_entry){.route = network->routes[i], .position = i};
		if (!ip_prefix_parse(text_or_empty(network->routes[i].dst), &entries[i].dst))
			entries[i].dst = IP_NONE;
	}
	qsort(entries, network->route_count, sizeof(*entries), compare);
	for (size_t i = 0; i < network->route_count; i++)
		network->routes[i] = entries[i].route;
	return 0;
}

int podnetwork_routes_sort(struct podnetwork *network, struct error *err)
{
	return sort_routes(network, compare_listed, err);
}

int podnetwork_routes_sort_for_setup(struct podnetwork *network, struct error *err)
{
	return sort_routes(network, compare_setup, err);
}
