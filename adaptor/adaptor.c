/* SPDX-License-Identifier: Apache-2.0 */
/* adaptor.c - the state that the verbs share, and the threads that work on it. See adaptor.h */
#include "adaptor/adaptor.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/cleanup.h"

int adaptor_init(struct adaptor *adaptor, const struct settings *settings,
	const struct world *world, struct error *err)
{
	*adaptor = (struct adaptor){.settings = settings,
		.world = world,
		.journal = {.lock = -1},
		.threads = THREADS_INIT};
	pthread_mutex_init(&adaptor->workers_lock, NULL);
	pthread_mutex_init(&adaptor->quarantine.lock, NULL);
	adaptor->stopping = cancel_new();
	adaptor->quit = cancel_new();
	if (!adaptor->stopping || !adaptor->quit) {
		adaptor_free(adaptor);
		return error_set(err, ERROR_CAPACITY, "out of memory or file descriptors");
	}
	adaptor->workers_changed = notice_new(err);
	if (!adaptor->workers_changed || sandbox_table_init(&adaptor->table, err) < 0 ||
		journal_open(&adaptor->journal, settings->state_dir, err) < 0 ||
		!(adaptor->cluster = node_cluster_name(settings, err)) ||
		node_identity_init(&adaptor->identity, settings->state_dir, err) < 0) {
		adaptor_free(adaptor);
		return -1;
	}
	return 0;
}

void adaptor_free(struct adaptor *adaptor)
{
	node_identity_free(&adaptor->identity);
	if (adaptor->journal.lock >= 0)
		journal_close(&adaptor->journal);
	if (adaptor->table.changed)
		sandbox_table_free(&adaptor->table);
	notice_free(adaptor->workers_changed);
	if (adaptor->stopping)
		cancel_unref(adaptor->stopping);
	if (adaptor->quit)
		cancel_unref(adaptor->quit);
	free(adaptor->cluster);
	pthread_mutex_destroy(&adaptor->workers_lock);
	pthread_mutex_destroy(&adaptor->quarantine.lock);
	*adaptor = (struct adaptor){.journal = {.lock = -1}};
}

struct job {
	struct adaptor *adaptor;
	adaptor_work *work;
	void *argument;
};

static unsigned count_workers(struct adaptor *adaptor, int change)
{
	pthread_mutex_lock(&adaptor->workers_lock);
	adaptor->workers = (unsigned)((int)adaptor->workers + change);
	unsigned count = adaptor->workers;
	/* Under the lock: once the count is 0 and the lock free, the adaptor may be gone. */
	if (change < 0)
		notice_post(adaptor->workers_changed);
	pthread_mutex_unlock(&adaptor->workers_lock);
	return count;
}

static void run_job(void *argument)
{
	struct job job = *(struct job *)argument;
	free(argument);
	job.work(job.adaptor, job.argument);
	count_workers(job.adaptor, -1);
}

int adaptor_spawn(struct adaptor *adaptor, adaptor_work *work, void *argument, struct error *err)
{
	struct job *job = malloc(sizeof(*job));
	if (!job)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	*job = (struct job){.adaptor = adaptor, .work = work, .argument = argument};
	count_workers(adaptor, 1);
	if (threads_start(&adaptor->threads, 0, run_job, job, err) == 0)
		return 0;
	free(job);
	count_workers(adaptor, -1);
	return -1;
}

/* 0 once no worker is left, -1 when bound ended first. */
static int wait_for_workers(struct adaptor *adaptor, const struct bound *bound)
{
	for (;;) {
		uint64_t seen = notice_count(adaptor->workers_changed);
		if (count_workers(adaptor, 0) == 0)
			return 0;
		if (notice_wait(adaptor->workers_changed, seen, bound, "threads", NULL) < 0)
			return -1;
	}
}

void adaptor_finish(struct adaptor *adaptor, uint64_t grace_ns)
{
	cancel_fire(adaptor->stopping);
	struct bound grace = bound_within(&BOUND_NONE, grace_ns);
	if (wait_for_workers(adaptor, &grace) < 0)
		cancel_fire(adaptor->quit);
	threads_join(&adaptor->threads);
}

char *sandbox_token(const struct adaptor *adaptor, const char *id, struct error *err)
{
	/* Length-prefixed, so that no two triples give one text. */
	cleanup(buf_free) struct buf text = BUF_INIT;
	cleanup(buf_free) struct buf token = BUF_INIT;
	const char *const parts[] = {adaptor->cluster, adaptor->settings->node_name, id};
	for (size_t i = 0; i < array_size(parts); i++)
		buf_printf(&text, "%zu:%s", strlen(parts[i]), parts[i]);
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len;
	if (text.failed || EVP_Digest(text.data, text.len, digest, &len, EVP_sha256(), NULL) != 1) {
		error_set(err, ERROR_CAPACITY, "creation token: out of memory");
		return NULL;
	}
	hex_encode(digest, 16, &token);
	return buf_take(&token);
}
