/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arguments.h - words and options of a command line, told apart, and what may follow "--"
 */
#ifndef PEERPODCTL_ARGUMENTS_H
#define PEERPODCTL_ARGUMENTS_H

#include "base/option.h"

struct arguments {
	char **options; /* with their values; pointers into argv, NULL-terminated */
	int option_count;
	char **words;
	int word_count;
	char *const *after; /* after "--" */
	int after_count;
};

/*
 * An option that the set does not know is taken for one without a value: parsing it will say so. "-" is a word. false:
 * no memory. Frees with arguments_free.
 */
bool arguments_split(const struct option_set *set, int argc, char *const *argv,
	struct arguments *out);
void arguments_free(struct arguments *arguments);

#endif
