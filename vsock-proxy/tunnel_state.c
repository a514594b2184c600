/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel_state.c - a tunnel told to another process, and made again there
 *
 * What an Open asked for, how the way to the VM stands, and the relay with its connections. To the new process
 * the tunnel is down from its first moment, for as long as it was with the old one: dialling, resuming and the
 * grace period are those of a connection that broke.
 */
#include <string.h>

#include "base/bound.h"
#include "vsock-proxy/control_private.h"
#include "vsock-proxy/handover.h"
#include "vsock-proxy/tunnel_private.h"

/* Names of the rules that apply; none: all do. */
static size_t name_rules(const struct tunnel *t, char **names)
{
	uint64_t all = (UINT64_C(1) << proxy_rule_count) - 1;
	size_t count = 0;
	for (size_t i = 0; (t->rules.disabled & all) && i < proxy_rule_count; i++) {
		if (!(t->rules.disabled >> i & 1))
			names[count++] = (char *)proxy_rules[i].name;
	}
	return count;
}

/* Packing only reads all of this. */
static void describe_tls(const struct tls_client *client, const char *server_name,
	Handover__Tls *tls)
{
	struct tls_client_parts parts;
	tls_client_look(client, &parts);
	handover__tls__init(tls);
	tls->server_name = (char *)server_name;
	tls->ca_pem = (char *)parts.ca_pem;
	tls->client_cert_pem = (char *)parts.cert_pem;
	tls->client_key_pem = (char *)secret_reveal(parts.key_pem);
	tls->pin.data = (uint8_t *)parts.pin;
	tls->pin.len = parts.pin ? TLS_DIGEST_SIZE : 0;
	tls->min_version = (char *)parts.min_version;
	tls->cipher_suites = (char *)parts.suites;
}

static void describe_link(const struct tunnel *t, Handover__Link *link)
{
	uint64_t now = clock_ns();
	handover__link__init(link);
	link->session.data = (uint8_t *)t->session_id;
	link->session.len = sizeof(t->session_id);
	link->has_session = t->has_session;
	link->underlay_mtu = t->underlay_mtu;
	link->answered = t->answered;
	link->patience_over = t->patience_over;
	link->down_for_ns = t->state == TUNNEL_UP ? 0 : now - t->down_since_ns;
	link->last_error = t->last_error ? t->last_error : (char *)"";
	link->reconnects = t->reconnects;
	link->first_shim_ns_ago = t->first_shim_ns ? now - t->first_shim_ns : 0;
}

int tunnel_tell(const struct tunnel *t, struct told_sink *sink, struct error *err)
{
	char *rules[64];
	const char *server_name;
	const struct tls_client *client = dialer_identity(t->dialer, &server_name);
	Handover__Tls tls;
	Handover__Link link;
	Handover__Port back;
	Handover__SocketFile file;
	Handover__Sandbox sandbox = HANDOVER__SANDBOX__INIT;
	sandbox.sandbox = t->sandbox;
	sandbox.pod = t->pod;
	sandbox.pod_namespace = t->pod_namespace;
	sandbox.socket_path = t->socket_path;
	sandbox.address = t->address;
	socket_file_describe(&t->listener.identity, &file);
	sandbox.socket = &file;
	sandbox.digest.data = (uint8_t *)t->digest;
	sandbox.digest.len = sizeof(t->digest);
	sandbox.rules = rules;
	sandbox.n_rules = name_rules(t, rules);
	if (client) {
		describe_tls(client, server_name, &tls);
		sandbox.tls = &tls;
	}
	describe_link(t, &link);
	sandbox.link = &link;
	sandbox.back = &back;
	sandbox.next_id = t->relay.next_id;
	sandbox.call_count = t->relay.call_count;
	relay_count(&t->relay, &sandbox.fronts, &sandbox.calls);
	if (sandbox.fronts > HANDOVER_FRONTS_MAX || sandbox.calls > HANDOVER_CALLS_MAX)
		return error_set(err, ERROR_QUOTA, "sandbox %s: %u connections, %u calls",
			t->sandbox, sandbox.fronts, sandbox.calls);
	/* What was read from the VM and not delivered is sent again by the VM's end. */
	if (port_describe(&t->relay.back, false, &back, err) < 0)
		return error_prefix(err, "sandbox %s", t->sandbox);
	Handover__Item item = HANDOVER__ITEM__INIT;
	item.item_case = HANDOVER__ITEM__ITEM_SANDBOX;
	item.sandbox = &sandbox;
	if (sink->put(sink, &item, &t->listener.fd, 1, err) < 0 ||
		port_tell(&t->relay.back, &back, sink, err) < 0 ||
		relay_tell(&t->relay, sink, err) < 0)
		return error_prefix(err, "sandbox %s", t->sandbox);
	return 0;
}

/* ---- and again ---------------------------------------------------------------------------------- */

static struct tls_client *restore_client(const Handover__Tls *tls, struct error *err)
{
	cleanup(tls_profile_free) struct tls_profile profile = {0};
	cleanup_secret key = SECRET_INIT;
	if (tls_profile_parse(tls->min_version, tls->cipher_suites, &profile, err) < 0)
		return NULL;
	if (!secret_set(&key, tls->client_key_pem, strlen(tls->client_key_pem))) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	const struct tls_client_settings settings = {
		.ca_pem = tls->ca_pem,
		.cert_pem = tls->client_cert_pem,
		.key_pem = &key,
		.pin = tls->pin.len ? tls->pin.data : NULL,
		.profile = &profile,
	};
	return tls_client_new(&settings, err);
}

static int restore_settings(const Handover__Sandbox *s, struct tunnel_settings *settings,
	struct error *err)
{
	*settings = (struct tunnel_settings){
		.sandbox = s->sandbox,
		.pod = s->pod,
		.pod_namespace = s->pod_namespace,
		.socket_path = s->socket_path,
		.address = s->address,
	};
	memcpy(settings->digest, s->digest.data, sizeof(settings->digest));
	if (open_check_sandbox(s->sandbox, err) < 0 ||
		open_check_socket_path(s->socket_path, err) < 0 ||
		open_find_rules(s->rules, s->n_rules, &settings->rules_disabled, err) < 0)
		return -1;
	if (!s->tls)
		return 0;
	settings->server_name = s->tls->server_name;
	settings->tls = restore_client(s->tls, err);
	return settings->tls ? 0 : -1;
}

static void restore_link(struct tunnel *t, const Handover__Link *link)
{
	uint64_t now = clock_ns();
	/* One that was only being begun is not: the new id that the tunnel was made with stands. */
	t->has_session = link->has_session;
	if (t->has_session)
		memcpy(t->session_id, link->session.data, sizeof(t->session_id));
	t->underlay_mtu = link->underlay_mtu;
	t->answered = link->answered;
	t->state = link->answered ? TUNNEL_DOWN : TUNNEL_DIALING;
	t->reconnects = link->reconnects;
	t->first_shim_ns = 0;
	if (link->first_shim_ns_ago)
		t->first_shim_ns =
			link->first_shim_ns_ago < now ? now - link->first_shim_ns_ago : 1;
	if (*link->last_error)
		tunnel_note(t, link->last_error);
	t->down_since_ns = link->down_for_ns < now ? now - link->down_for_ns : 0;
	t->patience_over = link->patience_over;
	uint64_t waited = now - t->down_since_ns;
	if (t->patience_over)
		relay_unblock(&t->relay);
	else
		timer_start(&t->grace, waited < t->grace_ns ? t->grace_ns - waited : 0);
}

struct tunnel *tunnel_restore(struct loop *loop, struct told_sandbox *told, uint64_t grace_ns,
	struct error *err)
{
	const Handover__Sandbox *s = told->head;
	struct unix_socket_identity identity = socket_file_identity(s->socket);
	struct tunnel_settings settings;
	struct tunnel *t = NULL;
	if (restore_settings(s, &settings, err) == 0) {
		settings.grace_ns = grace_ns;
		t = tunnel_make(loop, &settings, err);
	}
	if (t && (link_init(t, &settings, err) < 0 || relay_restore(&t->relay, told, err) < 0 ||
			 listener_adopt_unix(&t->listener, loop, take_fd(&told->listener),
				 s->socket_path, &identity, tunnel_shim_connected, t, err) < 0))
		tunnel_let_go(take_ptr(t));
	tls_client_free(settings.tls);
	if (!t) {
		error_prefix(err, "sandbox %.128s", s->sandbox);
		return NULL;
	}
	restore_link(t, s->link);
	return t;
}

void tunnel_serve(struct tunnel *t)
{
	listener_claim(&t->listener);
	link_dial(t);
}

void tunnel_let_go(struct tunnel *t)
{
	listener_let_go(&t->listener);
	tunnel_close(t);
}
