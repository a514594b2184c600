/* SPDX-License-Identifier: Apache-2.0 */
/* fallback.c - see fallback.h */
#include "providers/choice/fallback.h"

#include <string.h>

#include "base/log.h"
#include "providers/choice/memory.h"

#define LEFT_OUT_SHOWN 5

static bool refused_before(const struct choice_memory *memory, const struct choice *choice,
	size_t tried, const bool *full, const struct offering *o)
{
	for (size_t i = 0; i < tried; i++) {
		if (full[i] && choice_memory_one_quota(memory, choice->ranked[i].offering, o))
			return true;
	}
	return false;
}

int choice_try(const char *who, const struct choice *choice, struct choice_memory *memory,
	choice_make *make, void *with, const struct bound *bound, struct error *err)
{
	cleanup(free_ptr) bool *full =
		calloc(choice->fits + 1, sizeof(*full)); /* refused for lack of quota */
	if (!full)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	for (size_t i = 0; i < choice->fits; i++) {
		const struct offering *o = choice->ranked[i].offering;
		const char *zone = *o->zone ? o->zone : "any zone";
		cleanup_error why = ERROR_INIT;
		if (refused_before(memory, choice, i, full, o))
			continue;
		if (make(with, o, bound, &why) == 0) {
			error_clear(err); /* the refusals before it are in the log */
			log_info("%s: the instance is a %s in %s%s", who, o->type, zone,
				o->spot ? " (spot)" : "");
			return 0;
		}
		bool elsewhere = why.kind == ERROR_CAPACITY || why.kind == ERROR_QUOTA;
		if (elsewhere) {
			choice_memory_refuse(memory, o, why.kind, CHOICE_REFUSAL_NS);
			log_warn("%s: %s in %s: %s", who, o->type, zone, error_message(&why));
		}
		full[i] = why.kind == ERROR_QUOTA;
		error_clear(err);
		error_move(err, &why);
		if (!elsewhere)
			return error_prefix(err, "%s in %s", o->type, zone);
	}
	return error_prefix(err, "no room for any of the %zu offerings that fit; the last",
		choice->fits);
}

void choice_log(const char *who, const struct choice *choice)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	choice_explain(choice, LEFT_OUT_SHOWN, &text);
	for (const char *line = buf_text(&text); *line;) {
		size_t len = strcspn(line, "\n");
		log_info("%s: choice: %.*s", who, (int)len, line);
		line += len + (line[len] == '\n');
	}
}
