/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal.h - the records of this node on disk: the truth about what exists here
 *
 * <state-dir>/sandboxes/<id>.json, mode 0600 in a folder of mode 0700, each replaced atomically before
 * and after every act that leaves something behind. One process owns a journal at a time.
 */
#ifndef PEERPOD_ADAPTOR_JOURNAL_H
#define PEERPOD_ADAPTOR_JOURNAL_H

#include "adaptor/fault_steps.h"
#include "adaptor/record.h"

struct journal {
	char *folder; /* <state-dir>/sandboxes */
	int lock;     /* descriptor of <state-dir>/lock, held as long as the journal is open */
};

/*
 * Makes the folders and takes the lock. ERROR_EXISTS, naming the process, when another adaptor has
 * it. Close with journal_close.
 */
int journal_open(struct journal *journal, const char *state_dir, struct error *err);
void journal_close(struct journal *journal);

/*
 * Reads every record. What cannot be read is moved aside to <id>.json.damaged, logged, and not among
 * the records. *records is new: record_free each, then free.
 */
int journal_read_all(const struct journal *journal, struct record **records, size_t *count,
	struct error *err);

/* Writes the record (changed_at is set), between the two fault points of step. */
int journal_write(const struct journal *journal, struct record *record, enum fault_step step,
	struct error *err);

/* Removes it; one that is gone is fine. */
int journal_remove(const struct journal *journal, const char *sandbox, struct error *err);

/* Was this sandbox's record moved aside? Its instance may exist all the same. */
bool journal_is_damaged(const struct journal *journal, const char *sandbox);
int journal_remove_damaged(const struct journal *journal, const char *sandbox, struct error *err);

#endif
