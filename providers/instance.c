/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instance.c - releases what drivers hand out. Part of the program that loads drivers, so that
 * memory has one owner whatever a driver was linked with.
 */
#include <stdlib.h>

#include "providers/provider.h"

void instance_free(struct instance *instance)
{
	if (!instance)
		return;
	for (char **address = instance->addresses; address && *address; address++)
		free(*address);
	free(instance->addresses);
	free(instance->id);
	free(instance->name);
	free(instance->sandbox);
	free(instance->node);
	free(instance->cluster);
	free(instance->pod);
	free(instance->pod_namespace);
	free(instance->token);
	*instance = (struct instance){0};
}

void offerings_free(struct offerings *offerings)
{
	free(offerings->list);
	free(offerings->region);
	*offerings = (struct offerings){0};
}

void instances_free(struct instance *instances, size_t count)
{
	for (size_t i = 0; i < count; i++)
		instance_free(&instances[i]);
	free(instances);
}
