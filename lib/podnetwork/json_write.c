/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_write.c - struct podnetwork to JSON
 *
 * The v1 members come in upstream's order, with its rules on what is left out. A route that v1
 * cannot say (another family, table or protocol, a second metric for the same destination) would
 * make an upstream pod VM refuse the file or fail on EEXIST, so it goes to "ext" only. "ext"
 * members are written only where v1 loses something: with upstream's kind of pod the result has no
 * "ext" list.
 */
#include "podnetwork/model.h"

#include "base/json.h"

#include <linux/rtnetlink.h>
#include <string.h>

#define V1_IPV4_LEN 32

static int put(json_t *object, const char *key, json_t *value)
{
	return json_object_set_new(object, key, value); /* takes value; a NULL one is a failure */
}

static int put_text(json_t *object, const char *key, const char *text)
{
	return put(object, key, json_string(text_or_empty(text)));
}

/* Nothing where the text is empty. */
static int put_some(json_t *object, const char *key, const char *text)
{
	return *text_or_empty(text) ? put_text(object, key, text) : 0;
}

static int put_number(json_t *object, const char *key, int64_t number)
{
	return number ? put(object, key, json_integer(number)) : 0;
}

/* ---- routes ---- */

static struct ip_prefix route_dst(const struct podnetwork_route *route)
{
	struct ip_prefix dst = IP_NONE;
	ip_prefix_parse(text_or_empty(route->dst), &dst);
	return dst;
}

static struct ip_prefix route_gw(const struct podnetwork_route *route)
{
	struct ip_prefix gw = IP_NONE;
	ip_address_parse(text_or_empty(route->gw), &gw);
	return gw;
}

static bool same_route_key(const struct podnetwork_route *a, const struct podnetwork_route *b)
{
	struct ip_prefix left = route_dst(a), right = route_dst(b);
	return ip_prefix_equal(&left, &right);
}

/* May this route stand in a v1 list at all? */
static bool fits_v1(const struct podnetwork_route *route)
{
	struct ip_prefix dst = route_dst(route), gw = route_gw(route);
	return dst.family == AF_INET && (!gw.family || gw.family == AF_INET) &&
	       !*text_or_empty(route->type) && (!route->table || route->table == RT_TABLE_MAIN) &&
	       (!*text_or_empty(route->protocol) ||
		       word_number(route_protocols, route->protocol) >= 0);
}

/* v1 has no metric: of several routes to one destination only the best can be said. */
static bool is_v1(const struct podnetwork *network, size_t index)
{
	const struct podnetwork_route *route = &network->routes[index];
	if (!fits_v1(route))
		return false;
	for (size_t i = 0; i < network->route_count; i++) {
		const struct podnetwork_route *other = &network->routes[i];
		if (i == index || !fits_v1(other) || !same_route_key(route, other))
			continue;
		if (other->metric < route->metric || (other->metric == route->metric && i < index))
			return false;
	}
	return true;
}

static bool v1_loses(const struct podnetwork *network, size_t index)
{
	const struct podnetwork_route *route = &network->routes[index];
	return !is_v1(network, index) || *text_or_empty(route->src) || route->metric ||
	       route->mtu || route->advmss || route->onlink;
}

static json_t *write_route_v1(const struct podnetwork_route *route)
{
	cleanup_json *object = json_object();
	if (put_text(object, "dst", route->dst) || put_text(object, "gw", route->gw) ||
		put_some(object, "dev", route->dev) ||
		put_some(object, "protocol", route->protocol))
		return NULL;
	if (strcmp(text_or_empty(route->scope), "universe") &&
		put_some(object, "scope", route->scope))
		return NULL;
	return take_ptr(object);
}

/*
 * v1 cannot say onlink. A device route to the gateway before it has the same effect; NULL with
 * *needed false where a route of the list reaches the gateway already.
 */
static json_t *write_onlink_help(const struct podnetwork *network, size_t index, bool *needed)
{
	const struct podnetwork_route *route = &network->routes[index];
	struct ip_prefix gw = route_gw(route);
	*needed = route->onlink && gw.family == AF_INET;
	for (size_t i = 0; *needed && i < network->route_count; i++) {
		const struct podnetwork_route *other = &network->routes[i];
		struct ip_prefix dst = route_dst(other), other_gw = route_gw(other);
		bool helps = !other_gw.family && is_v1(network, i) && ip_prefix_contains(&dst, &gw);
		bool helped = i < index && other->onlink && is_v1(network, i) &&
			      ip_address_equal(&gw, &other_gw);
		if (helps || helped)
			*needed = false;
	}
	if (!*needed)
		return NULL;
	char text[IP_TEXT_MAX];
	gw.len = V1_IPV4_LEN;
	const struct podnetwork_route help = {
		.dst = (char *)ip_prefix_format(&gw, text),
		.dev = route->dev,
		.protocol = route->protocol,
		.scope = (char *)"link",
	};
	return write_route_v1(&help);
}

/* null where there is none, as upstream writes an empty list. */
static json_t *write_routes_v1(const struct podnetwork *network)
{
	cleanup_json *list = json_array();
	if (!list)
		return NULL;
	for (size_t i = 0; i < network->route_count; i++) {
		bool help_needed;
		if (!is_v1(network, i))
			continue;
		json_t *help = write_onlink_help(network, i, &help_needed);
		if (help_needed && json_array_append_new(list, help))
			return NULL;
		if (json_array_append_new(list, write_route_v1(&network->routes[i])))
			return NULL;
	}
	return json_array_size(list) ? take_ptr(list) : json_null();
}

static json_t *write_route_ext(const struct podnetwork_route *route)
{
	cleanup_json *object = write_route_v1(route);
	if (!object || put_some(object, "src", route->src) ||
		put_some(object, "type", route->type) ||
		put_number(object, "table", route->table) ||
		put_number(object, "metric", route->metric) ||
		put_number(object, "mtu", route->mtu) ||
		put_number(object, "advmss", route->advmss))
		return NULL;
	if (route->onlink && put(object, "onlink", json_true()))
		return NULL;
	return take_ptr(object);
}

static json_t *write_routes_ext(const struct podnetwork *network)
{
	cleanup_json *list = json_array();
	for (size_t i = 0; i < network->route_count; i++) {
		if (json_array_append_new(list, write_route_ext(&network->routes[i])))
			return NULL;
	}
	return take_ptr(list);
}

/* ---- neighbours ---- */

static bool neighbor_is_v1(const struct podnetwork_neighbor *neighbor)
{
	struct ip_prefix ip;
	return ip_address_parse(text_or_empty(neighbor->ip), &ip) && ip.family == AF_INET;
}

static json_t *write_neighbor(const struct podnetwork_neighbor *neighbor)
{
	cleanup_json *object = json_object();
	if (put_text(object, "ip", neighbor->ip) ||
		put_some(object, "hw-addr", neighbor->hw_addr) ||
		put_some(object, "dev", neighbor->dev) ||
		put_some(object, "state", neighbor->state))
		return NULL;
	return take_ptr(object);
}

static json_t *write_neighbors(const struct podnetwork *network, bool v1)
{
	cleanup_json *list = json_array();
	if (!list)
		return NULL;
	for (size_t i = 0; i < network->neighbor_count; i++) {
		const struct podnetwork_neighbor *neighbor = &network->neighbors[i];
		if ((!v1 || neighbor_is_v1(neighbor)) &&
			json_array_append_new(list, write_neighbor(neighbor)))
			return NULL;
	}
	return v1 && !json_array_size(list) ? json_null() : take_ptr(list);
}

/* ---- the rest of ext ---- */

static json_t *write_podips(const struct podnetwork *network)
{
	cleanup_json *list = json_array();
	for (size_t i = 0; i < podnetwork_podip_count(network); i++) {
		if (json_array_append_new(list, json_string(network->podips[i])))
			return NULL;
	}
	return take_ptr(list);
}

static json_t *write_rules(const struct podnetwork *network)
{
	cleanup_json *list = json_array();
	for (size_t i = 0; i < network->rule_count; i++) {
		const struct podnetwork_rule *rule = &network->rules[i];
		json_t *object = json_object();
		if (json_array_append_new(list, object))
			return NULL;
		if (put(object, "priority", json_integer(rule->priority)) ||
			put_some(object, "from", rule->from) || put_some(object, "to", rule->to) ||
			put_some(object, "iif", rule->iif) || put_some(object, "oif", rule->oif) ||
			put_number(object, "mark", rule->mark) ||
			put_number(object, "mask", rule->mask) ||
			put(object, "table", json_integer(rule->table)))
			return NULL;
		if (rule->ipv6 && put(object, "ipv6", json_true()))
			return NULL;
	}
	return take_ptr(list);
}

/* Is there more to say than the one address of "podip"? */
static bool podips_needed(const struct podnetwork *network)
{
	return podnetwork_podip_count(network) > 1 ||
	       (podnetwork_podip_count(network) == 1 &&
		       strcmp(network->podips[0], text_or_empty(network->podip)));
}

/* An empty object where v1 says it all. */
static json_t *write_ext(const struct podnetwork *network)
{
	cleanup_json *ext = json_object();
	bool routes_needed = false, neighbors_needed = false;
	for (size_t i = 0; i < network->route_count; i++)
		routes_needed = routes_needed || v1_loses(network, i);
	for (size_t i = 0; i < network->neighbor_count; i++)
		neighbors_needed = neighbors_needed || !neighbor_is_v1(&network->neighbors[i]);
	if (!ext || (podips_needed(network) && put(ext, "podips", write_podips(network))) ||
		(routes_needed && put(ext, "routes", write_routes_ext(network))) ||
		(neighbors_needed && put(ext, "neighbors", write_neighbors(network, false))) ||
		(network->rule_count && put(ext, "rules", write_rules(network))) ||
		put_number(ext, "underlay-mtu", network->underlay_mtu) ||
		(network->tunnel_csum_off && put(ext, "tunnel-csum-off", json_true())) ||
		(network->nic_tx_csum_off && put(ext, "nic-tx-csum-off", json_true())) ||
		put_some(ext, "encryption", network->encryption))
		return NULL;
	return take_ptr(ext);
}

json_t *podnetwork_to_json(const struct podnetwork *network, struct error *err)
{
	cleanup_json *object = json_object();
	cleanup_json *ext = write_ext(network);
	if (object && ext && !put_text(object, "podip", network->podip) &&
		!put_text(object, "pod-hw-addr", network->pod_hw_addr) &&
		!put_text(object, "interface", network->interface) &&
		!put_text(object, "worker-node-ip", network->worker_node_ip) &&
		!put_text(object, "tunnel-type", network->tunnel_type) &&
		!put(object, "routes", write_routes_v1(network)) &&
		!put(object, "neighbors", write_neighbors(network, true)) &&
		!put(object, "mtu", json_integer(network->mtu)) &&
		!put(object, "index", json_integer(network->index)) &&
		!put_number(object, "vxlan-port", network->vxlan_port) &&
		!put_number(object, "vxlan-id", network->vxlan_id) &&
		!put(object, "dedicated", json_boolean(network->dedicated)) &&
		!put(object, "external-net-via-pod-vm",
			json_boolean(network->external_net_via_pod_vm)) &&
		(!json_object_size(ext) || !put(object, "ext", take_ptr(ext))))
		return take_ptr(object);
	error_set(err, ERROR_INTERNAL,
		"pod-network: not written: no memory, or a text is not UTF-8");
	return NULL;
}
