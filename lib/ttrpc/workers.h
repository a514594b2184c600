/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workers.h - a thread for every job, kept a while for the next one
 *
 * Jobs block for as long as they like, so there are never fewer threads than jobs. The caller
 * bounds the number of jobs.
 */
#ifndef PEERPOD_TTRPC_WORKERS_H
#define PEERPOD_TTRPC_WORKERS_H

#include "base/error.h"

struct workers;

struct workers *workers_new(struct error *err);

/* Runs job(context) soon, on another thread. -1: no thread could be started; it does not run. */
int workers_run(struct workers *workers, void (*job)(void *context), void *context,
	struct error *err);

/* Waits until every job has returned and every thread has ended; frees. */
void workers_free(struct workers *workers);

#endif
