/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch.c - see batch.h
 *
 * Whoever asks puts a question into the queue. One of those who wait is the leader: it lets the interval since the
 * last call pass, takes what has gathered, asks once for all of it, and hands the answers out. Then it is the next
 * one's turn. A leader whose own time is over puts the others' questions back.
 */
#include "http/batch.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define WAIT_STEP_NS (20 * NS_PER_MS)

enum question_state { QUESTION_WAITING, QUESTION_ASKED, QUESTION_ANSWERED };

struct question {
	const char *key;
	enum question_state state;
	void *answer; /* NULL: not found */
	struct error err;
	struct question *next;
};

struct batch {
	const struct batch_kind *kind;
	void *with;
	pthread_mutex_t lock;
	struct question *first;
	bool led;
	uint64_t last_ns;
};

struct batch *batch_new(const struct batch_kind *kind, void *with)
{
	struct batch *b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	b->kind = kind;
	b->with = with;
	pthread_mutex_init(&b->lock, NULL);
	return b;
}

void batch_free(struct batch *b)
{
	if (!b)
		return;
	pthread_mutex_destroy(&b->lock);
	free(b);
}

void batch_answer(struct batch *b, const char *key, const void *answer)
{
	pthread_mutex_lock(&b->lock);
	for (struct question *q = b->first; q; q = q->next) {
		if (q->state != QUESTION_ASKED || q->answer || strcmp(q->key, key) != 0)
			continue;
		q->answer = b->kind->copy(answer);
		if (!q->answer && q->err.kind == ERROR_NONE)
			error_set(&q->err, ERROR_CAPACITY, "out of memory");
	}
	pthread_mutex_unlock(&b->lock);
}

/* Marks what is asked now and copies its keys: who asked may go away meanwhile. */
static void gather(struct batch *b, char **keys)
{
	size_t count = 0;
	pthread_mutex_lock(&b->lock);
	for (struct question *q = b->first; q && count < b->kind->keys_max; q = q->next) {
		if (q->state != QUESTION_WAITING)
			continue;
		bool listed = false;
		for (size_t i = 0; i < count; i++)
			listed |= !strcmp(keys[i], q->key);
		if (!listed && !(keys[count] = strdup(q->key)))
			break; /* asked when there is memory */
		count += !listed;
		q->state = QUESTION_ASKED;
	}
	b->last_ns = clock_ns();
	pthread_mutex_unlock(&b->lock);
}

static void drop_answer(struct batch *b, struct question *q)
{
	if (q->answer)
		b->kind->free(take_ptr(q->answer));
	error_clear(&q->err);
}

/* Under the lock: everybody who was asked for has an answer, or asks again. */
static void settle(struct batch *b, const struct question *own, const struct error *why)
{
	bool own_fault = why->kind == ERROR_TIMEOUT || why->kind == ERROR_CANCELED;
	for (struct question *q = b->first; q; q = q->next) {
		if (q->state != QUESTION_ASKED)
			continue;
		bool asks_again = own_fault && q != own;
		if (why->kind != ERROR_NONE)
			drop_answer(b, q);
		if (why->kind != ERROR_NONE && !asks_again)
			error_set(&q->err, why->kind, "%s", error_message(why));
		q->state = asks_again ? QUESTION_WAITING : QUESTION_ANSWERED;
	}
}

/* Asks for what has gathered. */
static int ask_all(struct batch *b, const struct bound *bound, struct error *err)
{
	char **keys = calloc(b->kind->keys_max + 1, sizeof(*keys));
	if (!keys)
		return error_set(err, ERROR_CAPACITY, "%s: out of memory", b->kind->what);
	gather(b, keys);
	int result = keys[0] ? b->kind->ask(b->with, b, keys, bound, err) : 0;
	for (char **key = keys; *key; key++)
		free(*key);
	free(keys);
	return result;
}

static void lead(struct batch *b, const struct question *own, const struct bound *bound)
{
	cleanup_error why = ERROR_INIT;
	uint64_t due = b->last_ns + b->kind->interval_ns, now = clock_ns();
	int result =
		b->last_ns && due > now ? bound_sleep(bound, due - now, b->kind->what, &why) : 0;
	if (result == 0)
		ask_all(b, bound, &why);
	pthread_mutex_lock(&b->lock);
	settle(b, own, &why);
	b->led = false;
	pthread_mutex_unlock(&b->lock);
}

static void leave(struct batch *b, struct question *own)
{
	struct question **at = &b->first;
	while (*at != own)
		at = &(*at)->next;
	*at = own->next;
}

int batch_get(struct batch *b, const char *key, void **answer, const struct bound *bound,
	struct error *err)
{
	struct question own = {.key = key};
	pthread_mutex_lock(&b->lock);
	struct question **end = &b->first;
	while (*end)
		end = &(*end)->next;
	*end = &own;
	while (own.state != QUESTION_ANSWERED) {
		if (!b->led) {
			b->led = true;
			pthread_mutex_unlock(&b->lock);
			lead(b, &own, bound);
			pthread_mutex_lock(&b->lock);
			if (bound_check(bound, b->kind->what, NULL) == 0)
				continue;
			/* No memory to ask with, and no time left: do not go round. */
			if (own.state != QUESTION_ANSWERED) {
				bound_check(bound, b->kind->what, &own.err);
				break;
			}
			continue;
		}
		pthread_mutex_unlock(&b->lock);
		cleanup_error why = ERROR_INIT;
		bool over = bound_sleep(bound, WAIT_STEP_NS, b->kind->what, &why) < 0;
		pthread_mutex_lock(&b->lock);
		if (over && own.state != QUESTION_ANSWERED) {
			error_move(&own.err, &why);
			break;
		}
	}
	leave(b, &own);
	pthread_mutex_unlock(&b->lock);
	if (own.err.kind != ERROR_NONE) {
		if (own.answer)
			b->kind->free(own.answer);
		return error_move(err, &own.err);
	}
	if (!own.answer)
		return error_set(err, ERROR_GONE, "%s: there is no %s", b->kind->what, key);
	*answer = own.answer;
	return 0;
}
