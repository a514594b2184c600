/* SPDX-License-Identifier: Apache-2.0 */
/* batch_test.c - questions of many threads, asked at once: by one of them, for all, and not too often */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <pthread.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "http/batch.h"

#define ASKERS 100
#define CALLS_MAX 1000

/* The API: knows a key unless it begins with "no". What it was asked is kept. */
struct api {
	pthread_mutex_t lock;
	size_t calls, most_keys;
	uint64_t began_ns[CALLS_MAX];
	bool twice;              /* a call had a key twice */
	enum error_kind failure; /* of every call */
	bool hangs;              /* the next call only ends with its bound */
	size_t hung_with;        /* keys of the call that hung */
	struct cancel *leader;   /* whose time that call took */
	struct cancel *hanging;  /* fired when a call hangs */
	bool no_memory;          /* for copies */
	size_t copies, freed;
};

static struct api api;

static void note(char *const *keys)
{
	size_t count = 0;
	pthread_mutex_lock(&api.lock);
	assert_true(api.calls < CALLS_MAX);
	api.began_ns[api.calls++] = clock_ns();
	for (; keys[count]; count++)
		for (size_t i = 0; i < count; i++)
			api.twice |= !strcmp(keys[i], keys[count]);
	api.most_keys = count > api.most_keys ? count : api.most_keys;
	pthread_mutex_unlock(&api.lock);
}

static int ask(void *with, struct batch *batch, char *const *keys, const struct bound *bound,
	struct error *err)
{
	assert_ptr_equal(with, &api);
	note(keys);
	pthread_mutex_lock(&api.lock);
	bool hangs = api.hangs;
	api.hangs = false;
	while (hangs && keys[api.hung_with])
		api.hung_with++;
	if (hangs)
		api.leader = bound->cancel;
	pthread_mutex_unlock(&api.lock);
	if (hangs) {
		batch_answer(batch, keys[0], "half an answer");
		cancel_fire(api.hanging);
		return bound_sleep(bound, 1000 * NS_PER_S, "the API", err);
	}
	if (api.failure != ERROR_NONE)
		return error_set(err, api.failure, "Describe: request 7 failed");
	for (; *keys; keys++) {
		char answer[64];
		snprintf(answer, sizeof(answer), "about %s", *keys);
		if (strncmp(*keys, "no", 2) != 0) {
			batch_answer(batch, *keys, answer);
			batch_answer(batch, *keys, "a second answer");
			batch_answer(batch, "nobody asked", answer);
		}
	}
	return 0;
}

static void *copy(const void *answer)
{
	__atomic_fetch_add(&api.copies, 1, __ATOMIC_RELAXED);
	return api.no_memory ? NULL : strdup(answer);
}

static void drop(void *answer)
{
	__atomic_fetch_add(&api.freed, 1, __ATOMIC_RELAXED);
	free(answer);
}

static struct batch_kind kind(uint64_t interval_ns, size_t keys_max)
{
	return (struct batch_kind){"Describe", interval_ns, keys_max, ask, copy, drop};
}

static int reset(void **state)
{
	(void)state;
	api = (struct api){.hanging = cancel_new()};
	return pthread_mutex_init(&api.lock, NULL);
}

static int finish(void **state)
{
	(void)state;
	cancel_unref(api.hanging);
	return pthread_mutex_destroy(&api.lock);
}

struct asker {
	pthread_t thread;
	struct batch *batch;
	char key[16];
	struct bound bound;
	int result;
	char *answer;
	struct error err;
};

static void *run(void *opaque)
{
	struct asker *a = opaque;
	void *answer = NULL;
	a->result = batch_get(a->batch, a->key, &answer, &a->bound, &a->err);
	a->answer = answer;
	return NULL;
}

static void begin(struct asker *a, struct batch *batch, int n, struct cancel *cancel)
{
	*a = (struct asker){.batch = batch,
		.bound = {.deadline_ns = deadline_in(60 * NS_PER_S), .cancel = cancel}};
	snprintf(a->key, sizeof(a->key), "i-%d", n);
	assert_int_equal(pthread_create(&a->thread, NULL, run, a), 0);
}

static void end(struct asker *a)
{
	free(a->answer);
	error_clear(&a->err);
}

static void assert_answered(struct asker *a)
{
	char expected[64];
	snprintf(expected, sizeof(expected), "about %s", a->key);
	if (a->result != 0)
		fail_msg("%s: %s", a->key, error_message(&a->err));
	assert_string_equal(a->answer, expected);
	end(a);
}

static void ask_all(struct asker *askers, size_t count, struct batch *batch, bool same)
{
	for (size_t i = 0; i < count; i++)
		begin(&askers[i], batch, same ? 0 : (int)i, NULL);
	for (size_t i = 0; i < count; i++)
		pthread_join(askers[i].thread, NULL);
}

static void test_many_threads_get_their_own_answer_in_few_calls(void **state)
{
	(void)state;
	static struct asker askers[ASKERS];
	const struct batch_kind k = kind(50 * NS_PER_MS, 1000);
	struct batch *batch = batch_new(&k, &api);
	ask_all(askers, ASKERS, batch, false);
	for (size_t i = 0; i < ASKERS; i++)
		assert_answered(&askers[i]);
	assert_true(api.calls < ASKERS / 2);
	for (size_t i = 1; i < api.calls; i++)
		assert_true(api.began_ns[i] - api.began_ns[i - 1] >= 50 * NS_PER_MS);
	assert_int_equal(api.copies,
		ASKERS); /* the first answer counts, and only what is asked for */
	batch_free(batch);
}

static void test_a_key_that_many_ask_for_is_asked_once_a_call(void **state)
{
	(void)state;
	static struct asker askers[ASKERS];
	const struct batch_kind k = kind(20 * NS_PER_MS, 1000);
	struct batch *batch = batch_new(&k, &api);
	ask_all(askers, ASKERS, batch, true);
	for (size_t i = 0; i < ASKERS; i++)
		assert_answered(&askers[i]);
	assert_false(api.twice);
	assert_int_equal(api.most_keys, 1);
	batch_free(batch);
}

static void test_a_call_takes_no_more_keys_than_the_api(void **state)
{
	(void)state;
	static struct asker askers[20];
	const struct batch_kind k = kind(5 * NS_PER_MS, 3);
	struct batch *batch = batch_new(&k, &api);
	ask_all(askers, array_size(askers), batch, false);
	for (size_t i = 0; i < array_size(askers); i++)
		assert_answered(&askers[i]);
	assert_in_range(api.most_keys, 1, 3);
	assert_true(api.calls >= 7);
	batch_free(batch);
}

static void test_what_the_api_does_not_know_is_gone(void **state)
{
	(void)state;
	const struct batch_kind k = kind(0, 10);
	struct batch *batch = batch_new(&k, &api);
	struct bound bound = {.deadline_ns = deadline_in(60 * NS_PER_S)};
	cleanup_error err = ERROR_INIT;
	void *answer = NULL;
	assert_int_equal(batch_get(batch, "no-1", &answer, &bound, &err), -1);
	assert_int_equal(err.kind, ERROR_GONE);
	assert_string_equal(error_message(&err), "Describe: there is no no-1");
	assert_null(answer);
	batch_free(batch);
}

static void test_a_failure_goes_to_everybody_who_was_asked_for(void **state)
{
	(void)state;
	struct asker askers[10];
	const struct batch_kind k = kind(50 * NS_PER_MS, 10);
	struct batch *batch = batch_new(&k, &api);
	api.failure = ERROR_DENIED;
	ask_all(askers, array_size(askers), batch, false);
	for (size_t i = 0; i < array_size(askers); i++) {
		assert_int_equal(askers[i].result, -1);
		assert_int_equal(askers[i].err.kind, ERROR_DENIED);
		assert_string_equal(error_message(&askers[i].err), "Describe: request 7 failed");
		end(&askers[i]);
	}
	api.failure = ERROR_NONE;
	ask_all(askers, 1, batch, false); /* and is over with that */
	assert_answered(&askers[0]);
	batch_free(batch);
}

/*
 * One round: four ask, the call hangs, and who leads gives up. How many of the questions were in the call that hung is up
 * to the scheduler: the result tells.
 */
static size_t lose_the_leader(void)
{
	const struct batch_kind k = kind(50 * NS_PER_MS, 10);
	struct batch *batch = batch_new(&k, &api);
	struct asker first, askers[4];
	struct cancel *cancels[4];
	struct bound bound = {.deadline_ns = deadline_in(60 * NS_PER_S)};
	size_t gave_up = 0;
	begin(&first, batch, 100, NULL); /* from now on the interval gathers questions */
	pthread_join(first.thread, NULL);
	assert_answered(&first);
	api.hangs = true;
	for (int i = 0; i < 4; i++)
		begin(&askers[i], batch, i, cancels[i] = cancel_new());
	assert_true(bound_poll(&bound, cancel_fd(api.hanging), POLLIN, "hang", NULL) > 0);
	pthread_mutex_lock(&api.lock);
	cancel_fire(api.leader);
	pthread_mutex_unlock(&api.lock);
	for (int i = 0; i < 4; i++) {
		pthread_join(askers[i].thread, NULL);
		if (cancels[i] == api.leader) {
			gave_up++;
			assert_int_equal(askers[i].result, -1);
			assert_int_equal(askers[i].err.kind, ERROR_CANCELED);
			assert_null(askers[i].answer); /* not even the half */
			end(&askers[i]);
		} else {
			assert_answered(&askers[i]);
		}
		cancel_unref(cancels[i]);
	}
	assert_int_equal(gave_up, 1);
	batch_free(batch);
	return api.hung_with;
}

static void test_others_are_answered_when_the_one_that_asks_gives_up(void **state)
{
	size_t together = 0;
	for (int round = 0; round < 50 && together < 4; round++) {
		finish(state);
		reset(state);
		together = lose_the_leader();
		assert_int_equal(api.copies - api.freed, 4); /* the askers' own; halves are gone */
	}
	assert_int_equal(together, 4);
}

static void test_who_waits_gives_up_alone(void **state)
{
	(void)state;
	const struct batch_kind k = kind(1000 * NS_PER_S, 10);
	struct batch *batch = batch_new(&k, &api);
	struct asker askers[4];
	struct cancel *cancel = cancel_new();
	ask_all(askers, 1, batch, false);
	assert_answered(&askers[0]);
	/* The next call is long in coming: all of these wait, one of them as the one who will ask. */
	for (int i = 0; i < 4; i++)
		begin(&askers[i], batch, i, cancel);
	cancel_fire(cancel);
	for (int i = 0; i < 4; i++) {
		pthread_join(askers[i].thread, NULL);
		assert_int_equal(askers[i].result, -1);
		assert_int_equal(askers[i].err.kind, ERROR_CANCELED);
		end(&askers[i]);
	}
	struct bound bound = {.deadline_ns = deadline_in(10 * NS_PER_MS)};
	cleanup_error err = ERROR_INIT;
	void *answer = NULL;
	assert_int_equal(batch_get(batch, "i-9", &answer, &bound, &err), -1);
	assert_int_equal(err.kind, ERROR_TIMEOUT);
	assert_int_equal(api.calls, 1);
	cancel_unref(cancel);
	batch_free(batch);
}

static void test_no_memory_for_an_answer_is_said(void **state)
{
	(void)state;
	const struct batch_kind k = kind(0, 10);
	struct batch *batch = batch_new(&k, &api);
	struct bound bound = {.deadline_ns = deadline_in(60 * NS_PER_S)};
	cleanup_error err = ERROR_INIT;
	void *answer = NULL;
	api.no_memory = true;
	assert_int_equal(batch_get(batch, "i-1", &answer, &bound, &err), -1);
	assert_int_equal(err.kind, ERROR_CAPACITY);
	batch_free(batch);
	batch_free(NULL);
}

int main(void)
{
#define BATCH_TEST(name) cmocka_unit_test_setup_teardown(name, reset, finish)
	const struct CMUnitTest tests[] = {
		BATCH_TEST(test_many_threads_get_their_own_answer_in_few_calls),
		BATCH_TEST(test_a_key_that_many_ask_for_is_asked_once_a_call),
		BATCH_TEST(test_a_call_takes_no_more_keys_than_the_api),
		BATCH_TEST(test_what_the_api_does_not_know_is_gone),
		BATCH_TEST(test_a_failure_goes_to_everybody_who_was_asked_for),
		BATCH_TEST(test_others_are_answered_when_the_one_that_asks_gives_up),
		BATCH_TEST(test_who_waits_gives_up_alone),
		BATCH_TEST(test_no_memory_for_an_answer_is_said),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
