/* SPDX-License-Identifier: Apache-2.0 */
/*
 * describe.c - see describe.h
 *
 * Whoever asks puts a question into the queue. One of those who wait is the leader: it lets the interval since the
 * last call pass, takes what has gathered, asks once for all of it by a filter (where unknown ids do no harm), and hands
 * the answers out. Then it is the next one's turn. A leader whose own time is over puts the others' questions back.
 */
#include "providers/aws/describe.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define INTERVAL_NS (300 * NS_PER_MS)
#define WAIT_STEP_NS (20 * NS_PER_MS)
#define BATCH_MAX 190 /* a filter takes 200 values */

enum question_state { QUESTION_WAITING, QUESTION_ASKED, QUESTION_ANSWERED };

struct question {
	const char *key;
	enum question_state state;
	struct vm vm; /* id NULL: not found */
	struct error err;
	struct question *next;
};

struct describer {
	struct ec2 *ec2;
	const char *filter;
	bool live;
	pthread_mutex_t lock;
	struct question *first;
	bool led;
	uint64_t last_ns;
};

struct describer *describer_new(struct ec2 *ec2, const char *filter, bool live)
{
	struct describer *d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->ec2 = ec2;
	d->filter = filter;
	d->live = live;
	pthread_mutex_init(&d->lock, NULL);
	return d;
}

void describer_free(struct describer *d)
{
	if (!d)
		return;
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static const char *key_of(const struct describer *d, const struct vm *vm)
{
	return !strcmp(d->filter, "instance-id") ? vm->id : vm->token;
}

/* Under the lock: this instance answers those who asked for it. */
static void answer(struct describer *d, xmlNode *item)
{
	for (struct question *q = d->first; q; q = q->next) {
		cleanup_vm vm = {0};
		if (q->state != QUESTION_ASKED || vm_read(item, &vm, NULL) < 0)
			continue;
		const char *key = key_of(d, &vm);
		if (!key || strcmp(key, q->key) != 0 || q->vm.id)
			continue;
		q->vm = vm;
		vm = (struct vm){0};
	}
}

static void answer_page(struct describer *d, xmlNode *root)
{
	pthread_mutex_lock(&d->lock);
	for (xmlNode *r = xml_first_item(root, "reservationSet"); r; r = xml_next_item(r)) {
		for (xmlNode *i = xml_first_item(r, "instancesSet"); i; i = xml_next_item(i))
			answer(d, i);
	}
	pthread_mutex_unlock(&d->lock);
}

/* Marks what is asked now and copies its keys: who asked may go away meanwhile. */
static void gather(struct describer *d, char *keys[BATCH_MAX + 1])
{
	size_t count = 0;
	pthread_mutex_lock(&d->lock);
	for (struct question *q = d->first; q && count < BATCH_MAX; q = q->next) {
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
	keys[count] = NULL;
	d->last_ns = clock_ns();
	pthread_mutex_unlock(&d->lock);
}

static int ask(struct describer *d, char *const *keys, const struct bound *bound, struct error *err)
{
	static const char *const live_states[] = {"pending", "running", "stopping", "stopped",
		NULL};
	cleanup(free_ptr) char *next = NULL;
	do {
		cleanup_query query = {0};
		cleanup_xml *reply = NULL;
		query_start(&query, "DescribeInstances", EC2_VERSION);
		query_filter(&query, 1, d->filter, (const char *const *)keys);
		if (d->live)
			query_filter(&query, 2, "instance-state-name", live_states);
		query_add(&query, "1000", "MaxResults");
		if (next)
			query_add(&query, next, "NextToken");
		if (ec2_call(d->ec2, EC2_READ, &query, &reply, bound, err) < 0)
			return -1;
		xmlNode *root = xmlDocGetRootElement(reply);
		answer_page(d, root);
		free(next);
		next = xml_text(root, "nextToken");
	} while (next);
	return 0;
}

/* Under the lock: everybody who was asked for has an answer, or asks again. */
static void settle(struct describer *d, const struct question *own, const struct error *why)
{
	bool own_fault = why->kind == ERROR_TIMEOUT || why->kind == ERROR_CANCELED;
	for (struct question *q = d->first; q; q = q->next) {
		if (q->state != QUESTION_ASKED)
			continue;
		bool asks_again = own_fault && q != own;
		if (asks_again) {
			vm_free(&q->vm);
		} else if (why->kind != ERROR_NONE) {
			vm_free(&q->vm);
			error_set(&q->err, why->kind, "%s", error_message(why));
		}
		q->state = asks_again ? QUESTION_WAITING : QUESTION_ANSWERED;
	}
}

static void lead(struct describer *d, const struct question *own, const struct bound *bound)
{
	cleanup_error why = ERROR_INIT;
	char *keys[BATCH_MAX + 1] = {NULL};
	uint64_t due = d->last_ns + INTERVAL_NS, now = clock_ns();
	int result = d->last_ns && due > now
			     ? bound_sleep(bound, due - now, "DescribeInstances", &why)
			     : 0;
	gather(d, keys);
	if (result == 0 && keys[0])
		ask(d, keys, bound, &why);
	pthread_mutex_lock(&d->lock);
	settle(d, own, &why);
	d->led = false;
	pthread_mutex_unlock(&d->lock);
	for (char **key = keys; *key; key++)
		free(*key);
}

static void leave(struct describer *d, struct question *own)
{
	struct question **at = &d->first;
	while (*at != own)
		at = &(*at)->next;
	*at = own->next;
}

int describe(struct describer *d, const char *key, struct vm *vm, const struct bound *bound,
	struct error *err)
{
	struct question own = {.key = key};
	*vm = (struct vm){0};
	pthread_mutex_lock(&d->lock);
	struct question **end = &d->first;
	while (*end)
		end = &(*end)->next;
	*end = &own;
	while (own.state != QUESTION_ANSWERED) {
		if (!d->led) {
			d->led = true;
			pthread_mutex_unlock(&d->lock);
			lead(d, &own, bound);
			pthread_mutex_lock(&d->lock);
			continue;
		}
		pthread_mutex_unlock(&d->lock);
		cleanup_error why = ERROR_INIT;
		bool over = bound_sleep(bound, WAIT_STEP_NS, "DescribeInstances", &why) < 0;
		pthread_mutex_lock(&d->lock);
		if (over && own.state != QUESTION_ANSWERED) {
			leave(d, &own);
			pthread_mutex_unlock(&d->lock);
			vm_free(&own.vm);
			return error_move(err, &why);
		}
	}
	leave(d, &own);
	pthread_mutex_unlock(&d->lock);
	if (own.err.kind != ERROR_NONE)
		return error_move(err, &own.err);
	if (!own.vm.id)
		return error_set(err, ERROR_GONE, "there is no instance with %s %s", d->filter,
			key);
	*vm = own.vm;
	return 0;
}
