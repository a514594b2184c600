/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_world.h - a cloud, a pod network and an agent-proxy in memory, for tests of the adaptor's verbs
 *
 * One world a process. Faults are set by the test; what exists can be counted at any time.
 */
#ifndef PEERPOD_TESTS_FAKE_WORLD_H
#define PEERPOD_TESTS_FAKE_WORLD_H

#include "adaptor/adaptor.h"

struct fake_faults {
	enum error_kind create;   /* how create fails; ERROR_NONE: it does not */
	unsigned create_failures; /* how often; 0: always */
	bool create_but_fail;     /* the instance is there although create failed */
	bool create_blocks;       /* until cancelled */
	enum error_kind addresses, open, delete, setup, inspect;
	unsigned delete_failures; /* how often; 0: always */
	uint32_t vm_underlay_mtu; /* that agent-proxy tells of; 0: not known */
	bool open_blocks;         /* until cancelled */
	unsigned random_percent;  /* of calls that fail with ERROR_INTERNAL */
};

struct fake_counts {
	size_t instances, tunnels, reservations, served;
	size_t creates, most_per_token, deletes;
};

extern const struct world fake_world;
extern struct fake_faults fake_faults; /* set while no verb runs */
extern struct notice *fake_changed;    /* posted at every call: "the create has begun" */
extern const char *fake_console;

/* Empties the world. */
void fake_reset(void);
struct fake_counts fake_count(void);

/* An instance that nobody recorded. created: Unix time. */
void fake_add_instance(const char *cluster, const char *node, const char *sandbox, int64_t created);
bool fake_has_instance_of(const char *sandbox);

/* What agent-proxy says about the shims of a sandbox. */
void fake_set_shims(const char *sandbox, unsigned connections);

/* The user data of the first and of the last create were the same bytes. */
bool fake_user_data_was_the_same(void);

/* An adaptor on a folder of its own; settings as options, NULL-terminated. */
struct fake_node {
	char folder[32];
	struct settings settings;
	struct adaptor adaptor;
	bool up;
};
void fake_node_init(struct fake_node *node, const char *const *options);
/* Up: reads the journal too. Down: as after SIGTERM. */
void fake_node_up(struct fake_node *node);
void fake_node_down(struct fake_node *node);
/* Down, and the folder goes. */
void fake_node_free(struct fake_node *node);

/* CreateVM of pod "web" in "shop" with a netns that exists. -1: err. */
int fake_create(struct fake_node *node, const char *id, struct error *err);

/* Waits (up to 20 s) until the condition holds after some change of table or world; false: it did not. */
bool fake_wait_for(struct fake_node *node, bool (*condition)(struct fake_node *node));

#endif
