/* SPDX-License-Identifier: Apache-2.0 */
/* adaptor_rig.c - see adaptor_rig.h */
#include "adaptor_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

struct fake_node node;

void node_with(const char *const *options)
{
	fake_reset();
	fake_node_init(&node, options);
}

int start(const char *id, struct error *err)
{
	return sandbox_start(&node.adaptor, id, &BOUND_NONE, err);
}

int stop(const char *id, struct error *err)
{
	return sandbox_stop(&node.adaptor, id, &BOUND_NONE, err);
}

void housekeep(struct adaptor *adaptor, void *argument)
{
	(void)argument;
	adaptor_housekeep(adaptor);
}

bool table_is_empty(struct fake_node *n)
{
	pthread_mutex_lock(&n->adaptor.table.lock);
	bool empty = !n->adaptor.table.first;
	pthread_mutex_unlock(&n->adaptor.table.lock);
	return empty;
}

void assert_nothing_left(void)
{
	struct fake_counts counts = fake_count();
	assert_int_equal(counts.instances, 0);
	assert_int_equal(counts.tunnels, 0);
	assert_int_equal(counts.reservations, 0);
	assert_int_equal(counts.served, 0);
	assert_null(node.adaptor.table.first);
	char path[80];
	snprintf(path, sizeof(path), "%s/state/sandboxes", node.folder);
	assert_int_equal(rmdir(path), 0); /* no record is in it */
	snprintf(path, sizeof(path), "%s/pods", node.folder);
	assert_int_equal(rmdir(path), 0); /* no socket's folder either */
}
