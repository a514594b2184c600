/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adaptor_rig.h - one adaptor in the world in memory, and what tests of its verbs do with it
 */
#ifndef PEERPOD_TESTS_ADAPTOR_RIG_H
#define PEERPOD_TESTS_ADAPTOR_RIG_H

#include "fake_world.h"

extern struct fake_node node;

/* Empties the world and makes the adaptor; settings as options, NULL-terminated. */
void node_with(const char *const *options);

/* StartVM and StopVM without a deadline. */
int start(const char *id, struct error *err);
int stop(const char *id, struct error *err);

/* The housekeeper, for adaptor_spawn. */
void housekeep(struct adaptor *adaptor, void *argument);

/* No sandbox is known, for fake_wait_for. */
bool table_is_empty(struct fake_node *n);

/* Nor is anything else left: no instance, tunnel, number, listener, record or socket's folder. */
void assert_nothing_left(void);

#endif
