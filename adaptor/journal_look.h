/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal_look.h - the records of this node as they lie on disk, for who looks and owns nothing
 *
 * Takes no lock and changes no file, so it may be done beside a running adaptor: records are replaced atomically, and
 * one that goes away while it is looked for was not there. journal.h is for the one who owns them.
 */
#ifndef PEERPOD_ADAPTOR_JOURNAL_LOOK_H
#define PEERPOD_ADAPTOR_JOURNAL_LOOK_H

#include "adaptor/record.h"

#define RECORD_SUFFIX ".json"
#define RECORD_DAMAGED_SUFFIX ".damaged"

/* A record that cannot be read, or was moved aside for that. */
struct journal_damage {
	char *sandbox;
	char *why;
	bool moved; /* by the adaptor, which then counts it as none */
};

struct journal_look {
	struct record *records; /* sorted by sandbox id */
	size_t count;
	struct journal_damage *damaged;
	size_t damaged_count;
};

/* ERROR_GONE: there is no journal below this folder; ERROR_DENIED: not this user's to read. */
int journal_look(const char *state_dir, struct journal_look *look, struct error *err);
void journal_look_free(struct journal_look *look);

/* NULL: no record of this sandbox. */
const struct record *journal_look_find(const struct journal_look *look, const char *sandbox);
/* NULL: nothing is wrong with a record of this sandbox. */
const struct journal_damage *journal_look_damage(const struct journal_look *look,
	const char *sandbox);

/* The sandbox id in the name of a record's file; false for other files. New string in *id. */
bool record_file_id(const char *file, char **id);

/* Reads one file, which must be the record of this sandbox. */
int record_file_read(const char *path, const char *id, struct record *record, struct error *err);

#endif
