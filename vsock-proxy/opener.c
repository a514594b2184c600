/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opener.c - whoever waits for a tunnel to be up, and what they are told when it is not
 *
 * The message begins with the reason's name, so that a program can tell the cases apart, and goes on
 * for people: what happened, where, for how long, and what to do.
 */
#include "vsock-proxy/tunnel_private.h"

#include <stddef.h>
#include <stdio.h>

#include "base/bound.h"

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static const struct {
	const char *name, *what, *advice;
} reasons[] = {
	[DIAL_REFUSED] = {"refused", "refuses connections",
		"the VM runs but no agent-protocol-forwarder listens there: look at its console or "
		"journal"},
	[DIAL_NO_ROUTE] = {"no-route", "cannot be reached",
		"check routes and firewalls between this node and the VM"},
	[DIAL_NO_ANSWER] = {"no-answer", "does not answer",
		"either the VM did not boot, or a security group or firewall drops packets from this "
		"node to this port"},
	[DIAL_NO_RESOURCES] = {"no-resources", "was not dialled",
		"it is this node that lacks what the message names: look at agent-proxy's limits"},
	[DIAL_CERTIFICATE] = {"wrong-certificate", "failed TLS verification",
		"the address may belong to another VM by now, or this node's certificates and those "
		"in the VM's user data differ"},
	[DIAL_BROKEN] = {"broken", "breaks the connection off",
		"look at the forwarder's journal in the VM"},
};

/* Why the tunnel is not up. */
static void explain(const struct tunnel *t, uint64_t since_ns, enum error_kind kind,
	struct error *err)
{
	double seconds = (double)(clock_ns() - since_ns) / (double)NS_PER_S;
	enum dial_reason reason;
	unsigned int attempts;
	const struct error *trouble = dialer_trouble(t->dialer, &reason, &attempts);
	if (t->relay.back.conn && !t->relay.back.greeting) {
		error_set(err, kind,
			"agent-not-answering: the forwarder at %s is connected but kata-agent did not "
			"answer within %.1f s%s%s; look at the kata-agent journal in the VM",
			t->address, seconds, t->check_trouble ? ": " : "",
			t->check_trouble ? t->check_trouble : "");
	} else if (trouble) {
		error_set(err, kind, "%s: %s %s (%s; %u attempts in %.1f s); %s",
			reasons[reason].name, t->address, reasons[reason].what,
			error_message(trouble), attempts, seconds, reasons[reason].advice);
	} else if (t->last_error) {
		error_set(err, kind,
			"broken: %s: %s (for %.1f s); look at the forwarder's journal in "
			"the VM",
			t->address, t->last_error, seconds);
	} else {
		error_set(err, kind, "%s: %s %s after %.1f s; %s", reasons[DIAL_NO_ANSWER].name,
			t->address, reasons[DIAL_NO_ANSWER].what, seconds,
			reasons[DIAL_NO_ANSWER].advice);
	}
}

static void free_opener(struct deferred *self)
{
	free(container_of(self, struct opener, grave));
}

static void opener_end(struct opener *o)
{
	struct tunnel *t = o->tunnel;
	for (struct opener **link = &t->openers; *link; link = &(*link)->next) {
		if (*link == o) {
			*link = o->next;
			break;
		}
	}
	timer_stop(&o->timer);
	loop_bury(t->loop, &o->grave);
}

void opener_cancel(struct opener *o)
{
	opener_end(o);
}

static void opener_timed_out(void *context)
{
	struct opener *o = context;
	cleanup_error why = ERROR_INIT;
	explain(o->tunnel, o->since_ns, ERROR_TIMEOUT, &why);
	opener_end(o);
	o->opened(o->context, o->tunnel, &why);
}

struct opener *tunnel_wait(struct tunnel *t, uint64_t timeout_ns, tunnel_opened *opened,
	void *context)
{
	struct opener *o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	*o = (struct opener){.tunnel = t,
		.since_ns = clock_ns(),
		.opened = opened,
		.context = context,
		.next = t->openers,
		.grave.run = free_opener};
	t->openers = o;
	timer_init(&o->timer, t->loop, opener_timed_out, o);
	timer_start(&o->timer, timeout_ns);
	return o;
}

void openers_tell(struct tunnel *t, const struct error *err)
{
	while (t->openers) {
		struct opener *o = t->openers;
		cleanup_error why = ERROR_INIT;
		if (err && err->kind == ERROR_DENIED)
			explain(t, o->since_ns, ERROR_DENIED, &why);
		else if (err)
			error_set(&why, err->kind, "%s", error_message(err));
		opener_end(o);
		/* May close the tunnel: nothing of it is touched afterwards but the list. */
		o->opened(o->context, t, err ? &why : NULL);
	}
}
