/* SPDX-License-Identifier: Apache-2.0 */
/* bearer.c - see bearer.h */
#include "http/bearer.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"

#define FETCH_NS (30 * NS_PER_S)
#define RENEW_NS (5 * NS_PER_S) /* of a fetch that nobody needs yet */
#define RENEW_BEFORE_NS (5 * 60 * NS_PER_S)
#define LONG_LIFE_NS (2 * 3600 * NS_PER_S)
#define UNKNOWN_LIFE_NS (5 * 60 * NS_PER_S)
#define RENEW_AGAIN_NS \
	(30 * NS_PER_S) /* pause after a renewal that failed while the old one is good */
#define LOCK_STEP_NS (10 * NS_PER_MS)

struct bearer {
	const char *who;
	bearer_fetch *fetch;
	void *with;
	pthread_mutex_t lock; /* what is below */
	struct secret token;  /* empty: none */
	uint64_t ends_ns, renew_ns;
	pthread_mutex_t fetching; /* one at a time; taken before lock */
};

struct bearer *bearer_new(const char *who, bearer_fetch *fetch, void *with)
{
	struct bearer *b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	b->who = who;
	b->fetch = fetch;
	b->with = with;
	pthread_mutex_init(&b->lock, NULL);
	pthread_mutex_init(&b->fetching, NULL);
	return b;
}

void bearer_free(struct bearer *b)
{
	if (!b)
		return;
	secret_free(&b->token);
	pthread_mutex_destroy(&b->lock);
	pthread_mutex_destroy(&b->fetching);
	free(b);
}

/* 1 a copy was made, 0 there is no good token (or it is due, where due counts), -1 no memory. */
static int look(struct bearer *b, bool due_counts, struct secret *token, struct error *err)
{
	int result = 0;
	uint64_t now = clock_ns();
	pthread_mutex_lock(&b->lock);
	if (b->token.len && now < b->ends_ns && !(due_counts && now >= b->renew_ns))
		result = secret_set(token, secret_reveal(&b->token), b->token.len)
				 ? 1
				 : error_set(err, ERROR_CAPACITY, "out of memory");
	pthread_mutex_unlock(&b->lock);
	return result;
}

static void keep(struct bearer *b, struct secret *token, uint64_t asked_ns, uint64_t lives_ns)
{
	uint64_t lives = lives_ns ? lives_ns : UNKNOWN_LIFE_NS;
	uint64_t before = lives > LONG_LIFE_NS ? lives / 2 : RENEW_BEFORE_NS;
	/* One that ends within minutes is used to its last minute, not fetched for each call. */
	if (before > lives / 2)
		before = lives / 4;
	pthread_mutex_lock(&b->lock);
	secret_free(&b->token);
	b->token = *token;
	*token = SECRET_INIT;
	b->ends_ns = asked_ns + lives;
	b->renew_ns = b->ends_ns - before;
	pthread_mutex_unlock(&b->lock);
}

/* Where the old token is good, a renewal leaves its caller the time to use it. */
static struct bound fetch_bound(struct bearer *b, const struct bound *bound)
{
	pthread_mutex_lock(&b->lock);
	bool good = b->token.len && clock_ns() < b->ends_ns;
	pthread_mutex_unlock(&b->lock);
	uint64_t half = bound_left_ns(bound) / 2;
	return bound_within(bound, !good ? FETCH_NS : half < RENEW_NS ? half : RENEW_NS);
}

static int renew(struct bearer *b, struct error *err, const struct bound *bound)
{
	struct bound within = fetch_bound(b, bound);
	cleanup_secret fresh = SECRET_INIT;
	uint64_t asked_ns = clock_ns(), lives_ns = 0;
	if (b->fetch(b->with, &fresh, &lives_ns, &within, err) == 0) {
		keep(b, &fresh, asked_ns, lives_ns);
		return 0;
	}
	pthread_mutex_lock(&b->lock);
	b->renew_ns = clock_ns() + RENEW_AGAIN_NS;
	pthread_mutex_unlock(&b->lock);
	return -1;
}

int bearer_get(struct bearer *b, struct secret *token, const struct bound *bound, struct error *err)
{
	int result;
	while ((result = look(b, true, token, err)) == 0) {
		if (pthread_mutex_trylock(&b->fetching) == 0)
			break;
		/* Somebody renews: what is good till then is used. */
		result = look(b, false, token, err);
		if (result)
			break;
		if (bound_sleep(bound, LOCK_STEP_NS, "wait for a token", err) < 0)
			return -1;
	}
	if (result)
		return result < 0 ? -1 : 0;
	cleanup_error why = ERROR_INIT;
	/* Another thread may have renewed between the look and the lock. */
	result = look(b, true, token, err);
	int renewed = result == 0 ? renew(b, &why, bound) : 0;
	pthread_mutex_unlock(&b->fetching);
	if (result == 0)
		result = look(b, false, token, err);
	if (result > 0 && renewed < 0)
		log_warn("%s: token not renewed, the old one is used: %s", b->who,
			error_message(&why));
	if (result > 0)
		return 0;
	if (result < 0)
		return -1;
	if (why.kind == ERROR_NONE)
		error_set(&why, ERROR_DENIED, "%s: the token that was fetched has ended already",
			b->who);
	return error_move(err, &why);
}

void bearer_refuse(struct bearer *b, const struct secret *token)
{
	pthread_mutex_lock(&b->lock);
	if (b->token.len == token->len &&
		!memcmp(secret_reveal(&b->token), secret_reveal(token), token->len))
		secret_free(&b->token);
	pthread_mutex_unlock(&b->lock);
}
