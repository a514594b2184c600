/* SPDX-License-Identifier: Apache-2.0 */
/* permissions.c - see permissions.h */
#include "providers/azure/permissions.h"

#include <ctype.h>

/* The same as in docs/providers/azure-role.json, less what is needed of the subscription and of images. */
const struct action needed_actions[ACTION_COUNT] = {
	{"Microsoft.Compute/virtualMachines/read", SCOPE_GROUP, WHEN_ALWAYS},
	{"Microsoft.Compute/virtualMachines/write", SCOPE_GROUP, WHEN_ALWAYS},
	{"Microsoft.Compute/virtualMachines/delete", SCOPE_GROUP, WHEN_ALWAYS},
	{"Microsoft.Compute/virtualMachines/instanceView/read", SCOPE_GROUP, WHEN_ALWAYS},
	{"Microsoft.Compute/virtualMachines/retrieveBootDiagnosticsData/action", SCOPE_GROUP,
		WHEN_CONSOLE},
	{"Microsoft.Compute/disks/read", SCOPE_GROUP, WHEN_ALWAYS},
	{"Microsoft.Compute/disks/write", SCOPE_GROUP, WHEN_ALWAYS},
	{"Microsoft.Compute/disks/delete", SCOPE_GROUP, WHEN_ALWAYS},
	{"Microsoft.Network/networkInterfaces/read", SCOPE_GROUP, WHEN_ALWAYS},
	{"Microsoft.Network/networkInterfaces/write", SCOPE_GROUP, WHEN_ALWAYS},
	{"Microsoft.Network/networkInterfaces/delete", SCOPE_GROUP, WHEN_ALWAYS},
	{"Microsoft.Network/networkInterfaces/join/action", SCOPE_GROUP, WHEN_ALWAYS},
	{"Microsoft.Network/publicIPAddresses/read", SCOPE_GROUP, WHEN_ALWAYS},
	{"Microsoft.Network/publicIPAddresses/write", SCOPE_GROUP, WHEN_PUBLIC_IP},
	{"Microsoft.Network/publicIPAddresses/delete", SCOPE_GROUP, WHEN_PUBLIC_IP},
	{"Microsoft.Network/publicIPAddresses/join/action", SCOPE_GROUP, WHEN_PUBLIC_IP},
	{"Microsoft.Network/virtualNetworks/subnets/read", SCOPE_SUBNET, WHEN_ALWAYS},
	{"Microsoft.Network/virtualNetworks/subnets/join/action", SCOPE_SUBNET, WHEN_ALWAYS},
	{"Microsoft.Network/networkSecurityGroups/read", SCOPE_NSG, WHEN_ALWAYS},
	{"Microsoft.Network/networkSecurityGroups/join/action", SCOPE_NSG, WHEN_ALWAYS},
};

/* '*' stands for anything, slashes too. Without case. Linear: goes back to the last star only. */
static bool matches(const char *pattern, const char *text)
{
	const char *star = NULL, *mark = NULL;
	while (*text) {
		if (*pattern == '*') {
			star = pattern++;
			mark = text;
		} else if (tolower((unsigned char)*pattern) == tolower((unsigned char)*text)) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star + 1;
			text = ++mark;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

static bool any_matches(const json_t *list, const char *action)
{
	size_t i;
	const json_t *one;
	json_array_foreach(list, i, one)
	{
		if (json_is_string(one) && matches(json_string_value(one), action))
			return true;
	}
	return false;
}

bool action_is_allowed(const json_t *permissions, const char *action)
{
	size_t i;
	const json_t *one;
	json_array_foreach(json_object_get(permissions, "value"), i, one)
	{
		if (any_matches(json_object_get(one, "actions"), action) &&
			!any_matches(json_object_get(one, "notActions"), action))
			return true;
	}
	return false;
}
