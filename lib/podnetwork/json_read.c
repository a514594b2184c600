/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_read.c - JSON to struct podnetwork
 *
 * What upstream's reader accepts is accepted: keys in any case ("Dst", "GW"), null for unset,
 * unknown members, the default route in its three spellings ("", "0.0.0.0/0", "::ffff:0.0.0.0/0").
 * What it refuses is refused: numbers or unknown words where an enum stands, prefixes without a
 * length. On top of that every text is checked here, once, so that the code behind can rely on it:
 * this runs in the pod VM on what an untrusted worker wrote.
 */
#include "podnetwork/model.h"

#include "base/json.h"

#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PLACE_MAX 64
/* RFC 791: no IP packet is longer. */
#define MTU_MAX 65535

/*
 * The key as this object spells it: exactly, or else (as Go reads) the last that differs in case
 * only.
 */
static const char *spelling(const json_t *object, const char *key)
{
	const char *found = key, *name;
	json_t *value;
	if (json_object_get(object, key))
		return key;
	json_object_foreach((json_t *)object, name, value)
	{
		if (!strcasecmp(name, key))
			found = name;
	}
	return found;
}

static json_t *member(const json_t *object, const char *key)
{
	json_t *value = json_object_get(object, spelling(object, key));
	return json_is_null(value) ? NULL : value;
}

/* ---- one value each; *out is "" (or unchanged, for numbers) where the member is missing ---- */

static int read_text(const json_t *object, const char *place, const char *key, char **out,
	struct error *err)
{
	if (json_read_string(object, place, spelling(object, key), JSON_OPTIONAL, out, err))
		return -1;
	return *out ? 0 : text_set(out, "", err);
}

static int read_number(const json_t *object, const char *place, const char *key, int64_t max,
	int64_t *out, struct error *err)
{
	return json_read_int(object, place, spelling(object, key), JSON_OPTIONAL, 0, max, out, err);
}

static int read_flag(const json_t *object, const char *place, const char *key, bool *out,
	struct error *err)
{
	return json_read_bool(object, place, spelling(object, key), JSON_OPTIONAL, out, err);
}

/* The text in its canonical form. */
static int read_prefix(const json_t *object, const char *place, const char *key, char **out,
	struct error *err)
{
	struct ip_prefix prefix;
	char text[IP_TEXT_MAX];
	if (read_text(object, place, key, out, err))
		return -1;
	if (!**out)
		return 0;
	if (!ip_prefix_parse(*out, &prefix))
		return error_set(err, ERROR_INVALID,
			"%s: \"%s\" must be an address with a prefix length (10.0.0.7/24), not \"%.50s\"",
			place, key, *out);
	return text_set(out, ip_prefix_format(&prefix, text), err);
}

static int read_address(const json_t *object, const char *place, const char *key, char **out,
	struct error *err)
{
	struct ip_prefix address;
	char text[IP_TEXT_MAX];
	if (read_text(object, place, key, out, err))
		return -1;
	if (!**out)
		return 0;
	if (!ip_address_parse(*out, &address))
		return error_set(err, ERROR_INVALID,
			"%s: \"%s\" must be an IP address, not \"%.50s\"", place, key, *out);
	return text_set(out, ip_address_format(&address, text), err);
}

static int read_mac(const json_t *object, const char *place, const char *key, char **out,
	struct error *err)
{
	uint8_t mac[MAC_SIZE];
	char text[MAC_TEXT_MAX];
	if (read_text(object, place, key, out, err))
		return -1;
	if (!**out)
		return 0;
	if (!mac_parse(*out, mac))
		return error_set(err, ERROR_INVALID,
			"%s: \"%s\" must be a MAC address (aa:bb:cc:dd:ee:ff), not \"%.50s\"",
			place, key, *out);
	return text_set(out, mac_format(mac, text), err);
}

static int read_interface(const json_t *object, const char *place, const char *key, char **out,
	struct error *err)
{
	if (read_text(object, place, key, out, err))
		return -1;
	if (**out && !interface_name_valid(*out))
		return error_set(err, ERROR_INVALID,
			"%s: \"%s\" must be the name of a network interface, not \"%.50s\"", place,
			key, *out);
	return 0;
}

/* A word of the table. An empty one is refused, as upstream does. */
static int read_word(const json_t *object, const char *place, const char *key,
	const struct word *table, char **out, struct error *err)
{
	if (read_text(object, place, key, out, err))
		return -1;
	if (!member(object, key) || word_number(table, *out) >= 0)
		return 0;
	error_set(err, ERROR_INVALID, "%s: \"%s\" must be one of", place, key);
	for (const struct word *w = table; w->text; w++)
		error_append(err, "%s %s", w == table ? "" : ",", w->text);
	return error_append(err, ", not \"%.50s\"", *out);
}

/* A list member: NULL where it is missing or null; -1 where it is no list or too long. */
static int read_list(const json_t *object, const char *place, const char *key, size_t max,
	const json_t **list, struct error *err)
{
	*list = member(object, key);
	if (*list && !json_is_array(*list))
		return error_set(err, ERROR_INVALID, "%s: \"%s\" must be a list", place, key);
	if (json_array_size(*list) > max)
		return error_set(err, ERROR_INVALID, "%s: \"%s\" has %zu entries; the limit is %zu",
			place, key, json_array_size(*list), max);
	return 0;
}

/* ---- routes ---- */

/*
 * Where "ext" may say more: one of the words, or the number of a protocol that v1 has no word for.
 */
static int read_protocol(const json_t *object, const char *place, bool ext, char **out,
	struct error *err)
{
	if (ext) {
		if (read_text(object, place, "protocol", out, err))
			return -1;
		size_t digits = strspn(*out, "0123456789");
		if (digits && digits <= 3 && !(*out)[digits] && atoi(*out) <= 255)
			return 0;
	}
	return read_word(object, place, "protocol", route_protocols, out, err);
}

static int read_route(const json_t *object, const char *place, bool ext,
	struct podnetwork_route *route, struct error *err)
{
	if (!json_is_object(object))
		return error_set(err, ERROR_INVALID, "%s must be an object", place);
	if (read_prefix(object, place, "dst", &route->dst, err) ||
		read_address(object, place, "gw", &route->gw, err) ||
		read_interface(object, place, "dev", &route->dev, err) ||
		read_protocol(object, place, ext, &route->protocol, err) ||
		read_word(object, place, "scope", route_scopes, &route->scope, err))
		return -1;
	if (!strcmp(route->scope, "universe"))
		*route->scope = 0;

	struct ip_prefix gw = IP_NONE, dst, src;
	ip_address_parse(route->gw, &gw);
	if (!*route->dst &&
		text_set(&route->dst, gw.family == AF_INET6 ? "::/0" : "0.0.0.0/0", err))
		return -1;
	ip_prefix_parse(route->dst, &dst);
	if (!ext) {
		if (text_set(&route->src, "", err) || text_set(&route->type, "", err))
			return -1;
	} else if (read_address(object, place, "src", &route->src, err) ||
		   read_word(object, place, "type", route_types, &route->type, err) ||
		   read_number(object, place, "table", UINT32_MAX, &route->table, err) ||
		   read_number(object, place, "metric", UINT32_MAX, &route->metric, err) ||
		   read_number(object, place, "mtu", MTU_MAX, &route->mtu, err) ||
		   read_number(object, place, "advmss", MTU_MAX, &route->advmss, err) ||
		   read_flag(object, place, "onlink", &route->onlink, err)) {
		return -1;
	}
	/* IPv4 by way of an IPv6 gateway exists (RFC 5549); the reverse does not. */
	if (gw.family == AF_INET && dst.family == AF_INET6)
		return error_set(err, ERROR_INVALID, "%s: \"gw\" %s is IPv4, \"dst\" %s is IPv6",
			place, route->gw, route->dst);
	if (*route->src && ip_address_parse(route->src, &src) && src.family != dst.family)
		return error_set(err, ERROR_INVALID,
			"%s: \"src\" %s and \"dst\" %s are of two families", place, route->src,
			route->dst);
	return 0;
}

static int read_routes(const json_t *object, const char *place, bool ext,
	struct podnetwork *network, struct error *err)
{
	const json_t *list;
	if (read_list(object, place, "routes", PODNETWORK_LIST_MAX, &list, err))
		return -1;
	for (size_t i = 0; list && i < network->route_count; i++)
		podnetwork_route_clear(&network->routes[i]);
	if (list)
		network->route_count = 0;
	for (size_t i = 0; i < json_array_size(list); i++) {
		char here[PLACE_MAX];
		snprintf(here, sizeof(here), "%s: routes[%zu]", place, i);
		struct podnetwork_route *route = podnetwork_route_add(network, err);
		if (!route || read_route(json_array_get(list, i), here, ext, route, err))
			return -1;
	}
	return 0;
}

/* ---- neighbours, addresses, rules ---- */

static void drop_neighbors(struct podnetwork *network)
{
	struct podnetwork drop = {.neighbors = network->neighbors,
		.neighbor_count = network->neighbor_count};
	podnetwork_free(&drop);
	network->neighbors = NULL;
	network->neighbor_count = 0;
}

static int read_neighbors(const json_t *object, const char *place, struct podnetwork *network,
	struct error *err)
{
	const json_t *list;
	if (read_list(object, place, "neighbors", PODNETWORK_LIST_MAX, &list, err))
		return -1;
	if (list)
		drop_neighbors(network);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *entry = json_array_get(list, i);
		char here[PLACE_MAX];
		snprintf(here, sizeof(here), "%s: neighbors[%zu]", place, i);
		if (!json_is_object(entry))
			return error_set(err, ERROR_INVALID, "%s must be an object", here);
		struct podnetwork_neighbor *neighbor = podnetwork_neighbor_add(network, err);
		if (!neighbor || read_address(entry, here, "ip", &neighbor->ip, err) ||
			read_mac(entry, here, "hw-addr", &neighbor->hw_addr, err) ||
			read_interface(entry, here, "dev", &neighbor->dev, err) ||
			read_word(entry, here, "state", neighbor_states, &neighbor->state, err))
			return -1;
	}
	return 0;
}

static int read_podips(const json_t *ext, const char *place, struct podnetwork *network,
	struct error *err)
{
	const json_t *list;
	if (read_list(ext, place, "podips", PODNETWORK_ADDRESS_MAX, &list, err))
		return -1;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *entry = json_array_get(list, i);
		struct ip_prefix prefix;
		char text[IP_TEXT_MAX];
		if (!json_is_string(entry) || !ip_prefix_parse(json_string_value(entry), &prefix))
			return error_set(err, ERROR_INVALID,
				"%s: podips[%zu] must be an address with a prefix length (10.0.0.7/24)",
				place, i);
		if (podnetwork_podip_add(network, ip_prefix_format(&prefix, text), err))
			return -1;
	}
	return 0;
}

static int read_rules(const json_t *ext, const char *place, struct podnetwork *network,
	struct error *err)
{
	const json_t *list;
	if (read_list(ext, place, "rules", PODNETWORK_LIST_MAX, &list, err))
		return -1;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *entry = json_array_get(list, i);
		char here[PLACE_MAX];
		snprintf(here, sizeof(here), "%s: rules[%zu]", place, i);
		if (!json_is_object(entry))
			return error_set(err, ERROR_INVALID, "%s must be an object", here);
		struct podnetwork_rule *rule = podnetwork_rule_add(network, err);
		if (!rule ||
			read_number(entry, here, "priority", UINT32_MAX, &rule->priority, err) ||
			read_prefix(entry, here, "from", &rule->from, err) ||
			read_prefix(entry, here, "to", &rule->to, err) ||
			read_interface(entry, here, "iif", &rule->iif, err) ||
			read_interface(entry, here, "oif", &rule->oif, err) ||
			read_number(entry, here, "mark", UINT32_MAX, &rule->mark, err) ||
			read_number(entry, here, "mask", UINT32_MAX, &rule->mask, err) ||
			read_number(entry, here, "table", UINT32_MAX, &rule->table, err) ||
			read_flag(entry, here, "ipv6", &rule->ipv6, err))
			return -1;
		if (!rule->table)
			return error_set(err, ERROR_INVALID,
				"%s: \"table\" must be the number of a table", here);
		const char *const prefixes[] = {rule->from, rule->to};
		for (size_t p = 0; p < array_size(prefixes); p++) {
			struct ip_prefix prefix;
			if (ip_prefix_parse(prefixes[p], &prefix) &&
				(prefix.family == AF_INET6) != rule->ipv6)
				return error_set(err, ERROR_INVALID,
					"%s: %s is %s and \"ipv6\" is %s", here, prefixes[p],
					rule->ipv6 ? "IPv4" : "IPv6",
					rule->ipv6 ? "true" : "false");
		}
	}
	return 0;
}

static int read_ext(const json_t *ext, struct podnetwork *network, struct error *err)
{
	const char *place = "pod-network: ext";
	if (!json_is_object(ext))
		return error_set(err, ERROR_INVALID, "%s must be an object", place);
	if (read_podips(ext, place, network, err) || read_routes(ext, place, true, network, err) ||
		read_neighbors(ext, place, network, err) || read_rules(ext, place, network, err) ||
		read_number(ext, place, "underlay-mtu", MTU_MAX, &network->underlay_mtu, err) ||
		read_flag(ext, place, "tunnel-csum-off", &network->tunnel_csum_off, err) ||
		read_flag(ext, place, "nic-tx-csum-off", &network->nic_tx_csum_off, err) ||
		read_text(ext, place, "encryption", &network->encryption, err))
		return -1;
	/* A worker that asks for encryption must never get a tunnel in the clear. */
	if (*network->encryption && strcmp(network->encryption, "none"))
		return error_set(err, ERROR_UNSUPPORTED,
			"%s: \"encryption\" is \"%.50s\"; this pod VM image only knows \"none\"",
			place, network->encryption);
	return 0;
}

int podnetwork_from_json(const json_t *object, struct podnetwork *network, struct error *err)
{
	const char *place = "pod-network";
	*network = (struct podnetwork){0};
	if (!json_is_object(object))
		return error_set(err, ERROR_INVALID, "%s must be an object", place);
	if (text_set(&network->encryption, "", err) ||
		read_prefix(object, place, "podip", &network->podip, err) ||
		read_mac(object, place, "pod-hw-addr", &network->pod_hw_addr, err) ||
		read_interface(object, place, "interface", &network->interface, err) ||
		read_prefix(object, place, "worker-node-ip", &network->worker_node_ip, err) ||
		read_text(object, place, "tunnel-type", &network->tunnel_type, err) ||
		read_routes(object, place, false, network, err) ||
		read_neighbors(object, place, network, err) ||
		read_number(object, place, "mtu", MTU_MAX, &network->mtu, err) ||
		read_number(object, place, "index", INT32_MAX, &network->index, err) ||
		read_number(object, place, "vxlan-port", UINT16_MAX, &network->vxlan_port, err) ||
		read_number(object, place, "vxlan-id", PODNETWORK_VXLAN_MAX_ID, &network->vxlan_id,
			err) ||
		read_flag(object, place, "dedicated", &network->dedicated, err) ||
		read_flag(object, place, "external-net-via-pod-vm",
			&network->external_net_via_pod_vm, err))
		return -1;
	if (*network->tunnel_type && strcmp(network->tunnel_type, "vxlan"))
		return error_set(err, ERROR_UNSUPPORTED,
			"%s: \"tunnel-type\" is \"%.50s\"; \"vxlan\" is the only one there is",
			place, network->tunnel_type);
	const json_t *ext = member(object, "ext");
	return ext ? read_ext(ext, network, err) : 0;
}
