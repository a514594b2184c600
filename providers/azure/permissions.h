/* SPDX-License-Identifier: Apache-2.0 */
/*
 * permissions.h - the actions that the driver needs, and whether an identity has them
 */
#ifndef PEERPOD_AZURE_PERMISSIONS_H
#define PEERPOD_AZURE_PERMISSIONS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Where an action is needed, and when. */
enum action_scope { SCOPE_GROUP, SCOPE_SUBNET, SCOPE_NSG };
enum action_when { WHEN_ALWAYS, WHEN_PUBLIC_IP, WHEN_CONSOLE };

struct action {
	const char *name;
	enum action_scope scope;
	enum action_when when;
};

#define ACTION_COUNT 20
extern const struct action needed_actions[ACTION_COUNT];

/* Does the answer of Microsoft.Authorization/permissions allow it? Wildcards and notActions count. */
bool action_is_allowed(const json_t *permissions, const char *action);

#endif
