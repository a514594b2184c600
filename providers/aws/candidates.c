/* SPDX-License-Identifier: Apache-2.0 */
/* candidates.c - see candidates.h */
#include "providers/aws/candidates.h"

#include <stdlib.h>
#include <string.h>

struct markets markets_of(const struct aws_options *o, const struct instance_request *r)
{
	switch (r->market) {
	case MARKET_SPOT:
		return (struct markets){{true}, 1};
	case MARKET_ON_DEMAND:
		return (struct markets){{false}, 1};
	case MARKET_DEFAULT:
		break;
	}
	if (!strcmp(o->spot, "prefer"))
		return (struct markets){{true, false}, 2};
	return (struct markets){{!strcmp(o->spot, "true")}, 1};
}

bool candidates_asked(const struct instance_request *r)
{
	return *r->instance_type || r->gpus > 0 || (r->vcpus > 0 && r->memory_mib > 0);
}

void candidates_free(struct candidates *c)
{
	choice_free(&c->choice);
	free(c->list);
	list_free(c->allowed);
	buf_free(&c->no_start);
	*c = (struct candidates){0};
}

/* The allowed types, and what the pod asks for, so that it is told why it cannot have it. */
static char **types_of(const struct aws_options *o, const char *asked)
{
	const char *allowed = *o->instance_types ? o->instance_types : o->instance_type;
	cleanup(buf_free) struct buf text = BUF_INIT;
	char **list = list_split(allowed);
	if (!list || !*asked || list_holds(list, asked))
		return list;
	list_free(list);
	buf_printf(&text, "%s,%s", allowed, asked);
	return list_split(buf_text(&text));
}

/* Can a machine of this type start the image? */
static bool starts(const struct type_entry *type, const struct image_facts *image)
{
	unsigned architecture = !strcmp(image->architecture, "arm64")    ? TYPE_ARM
				: !strcmp(image->architecture, "x86_64") ? TYPE_X86
									 : TYPE_X86 | TYPE_ARM;
	unsigned boot = !strcmp(image->boot_mode, "uefi")          ? TYPE_UEFI
			: !strcmp(image->boot_mode, "legacy-bios") ? TYPE_BIOS
								   : TYPE_UEFI | TYPE_BIOS;
	return (type->architectures & architecture) && (type->boots & boot);
}

/* What is against a type before anything is ranked; NULL: nothing. */
static const char *unfit(const struct candidates *c, const struct type_entry *type,
	const struct image_facts *image, bool spot)
{
	if (image && !starts(type, image))
		return buf_text(&c->no_start);
	return spot && !type->spot ? "there are no spot instances of it" : NULL;
}

static int multiply(struct candidates *c, const struct type_facts *facts, size_t count,
	const struct image_facts *image, char *const *subnets, bool spot, struct error *err)
{
	c->list = calloc(count * list_count(subnets) + 1, sizeof(*c->list));
	if (image)
		buf_printf(&c->no_start, "cannot start an image for %s that boots by %s",
			*image->architecture ? image->architecture : "any architecture",
			*image->boot_mode ? image->boot_mode : "BIOS");
	if (!c->list || c->no_start.failed)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	for (size_t f = 0; f < count; f++) {
		const struct type_entry *type = facts[f].type;
		for (char *const *subnet = subnets; *subnet; subnet++) {
			struct offering *one = &c->list[c->count++];
			*one = type->offering;
			one->zone = *subnet;
			one->spot = spot;
			one->unfit = unfit(c, type, image, spot);
		}
	}
	return 0;
}

int candidates_rank(struct provider *p, const struct instance_request *r,
	const struct image_facts *image, bool snp, char *const *subnets, bool spot,
	struct candidates *out, const struct bound *bound, struct error *err)
{
	const struct aws_options *o = p->options;
	cleanup(free_ptr) struct type_facts *facts = NULL;
	cleanup_list types = types_of(o, r->instance_type);
	size_t count = 0;
	out->allowed = list_split(o->instance_types);
	if (!types || !out->allowed)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	if (catalogue_types(p->catalogue, types, &facts, &count, bound, err) < 0 ||
		multiply(out, facts, count, image, subnets, spot, err) < 0)
		return -1;
	catalogue_price(p->catalogue, out->list, out->count, bound);
	const struct choice_request request = {
		.vcpus = r->vcpus,
		.memory_mib = r->memory_mib,
		.gpus = r->gpus,
		.tees = snp ? CHOICE_TEE_SNP : 0,
		.type = r->instance_type,
		.default_type = o->instance_type,
		.allowed = (const char *const *)out->allowed,
		.spot = spot,
		.on_demand = !spot,
		.nics = r->second_nic ? 2 : 1,
		.volumes = (int64_t)r->volume_count,
	};
	cleanup_error why = ERROR_INIT;
	if (choice_rank(out->list, out->count, &request, p->refusals, &out->choice, &why) == 0)
		return 0;
	/* Nothing but what EC2 refused a short while ago is no mistake of the pod's. */
	if (why.kind == ERROR_INVALID && strstr(error_message(&why), "refused a short while ago"))
		why.kind = ERROR_CAPACITY;
	return error_move(err, &why);
}
