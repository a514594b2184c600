/* SPDX-License-Identifier: Apache-2.0 */
/* arguments.c - see arguments.h */
#include "peerpodctl/arguments.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool takes_value(const struct option_set *set, const char *argument)
{
	const char *name = argument + 1 + (argument[1] == '-');
	if (strchr(name, '='))
		return false;
	for (size_t i = 0; i < set->count; i++) {
		const struct option *o = &set->options[i];
		if (o->name && !strcmp(o->name, name))
			return o->type != OPTION_BOOL;
	}
	return false;
}

bool arguments_split(const struct option_set *set, int argc, char *const *argv,
	struct arguments *out)
{
	*out = (struct arguments){0};
	out->options = calloc((size_t)argc + 1, sizeof(*out->options));
	out->words = calloc((size_t)argc + 1, sizeof(*out->words));
	if (!out->options || !out->words) {
		arguments_free(out);
		return false;
	}
	for (int i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "--")) {
			out->after = argv + i + 1;
			out->after_count = argc - i - 1;
			break;
		}
		if (argv[i][0] != '-' || !argv[i][1]) {
			out->words[out->word_count++] = argv[i];
			continue;
		}
		out->options[out->option_count++] = argv[i];
		if (takes_value(set, argv[i]) && i + 1 < argc && strcmp(argv[i + 1], "--") != 0)
			out->options[out->option_count++] = argv[++i];
	}
	return true;
}

void arguments_free(struct arguments *arguments)
{
	free(arguments->options);
	free(arguments->words);
	*arguments = (struct arguments){0};
}
