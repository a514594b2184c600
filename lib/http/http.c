/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.c - see http.h
 *
 * A call takes a line (a curl multi handle with its one easy handle) from the client's stack, or makes one.
 * The multi handle owns the connections, so a line that goes back keeps them for the next call; the last
 * one put back is the first taken, so few calls at a time use few connections. Only the thread that
 * holds a line touches it. Waiting is curl_multi_poll with the cancel flag's descriptor beside the
 * sockets, so a cancelled call ends at once.
 */
#include "http/http.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define IDLE_LINES_MAX 8
#define CONNECT_NS (10 * NS_PER_S)
#define RETRY_AFTER_MAX_S 3600

struct line {
	CURLM *multi;
	CURL *easy;
	struct line *next;
};

struct http_client {
	pthread_mutex_t lock;
	struct line *idle;
	size_t idle_count;
	char *ca_file;
};

/* What one call fills. */
struct intake {
	struct http_response *response;
	size_t body_max, headers_max;
	const char *over; /* which limit was passed */
	size_t over_max;
};

static void line_free(struct line *line)
{
	if (!line)
		return;
	curl_easy_cleanup(line->easy);
	curl_multi_cleanup(line->multi);
	free(line);
}

static struct line *line_new(void)
{
	struct line *line = calloc(1, sizeof(*line));
	if (!line)
		return NULL;
	line->multi = curl_multi_init();
	line->easy = curl_easy_init();
	if (line->multi && line->easy)
		return line;
	line_free(line);
	return NULL;
}

static struct line *line_take(struct http_client *client)
{
	pthread_mutex_lock(&client->lock);
	struct line *line = client->idle;
	if (line) {
		client->idle = line->next;
		client->idle_count--;
	}
	pthread_mutex_unlock(&client->lock);
	return line ? line : line_new();
}

static void line_put(struct http_client *client, struct line *line)
{
	curl_easy_reset(
		line->easy); /* headers with secrets go; connections stay with the multi handle */
	pthread_mutex_lock(&client->lock);
	bool keep = client->idle_count < IDLE_LINES_MAX;
	if (keep) {
		line->next = client->idle;
		client->idle = line;
		client->idle_count++;
	}
	pthread_mutex_unlock(&client->lock);
	if (!keep)
		line_free(line);
}

static void curl_start(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct http_client *http_client_new(const char *ca_file, struct error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, curl_start);
	if (!ca_file || !*ca_file)
		ca_file = getenv("SSL_CERT_FILE");
	char *file = strdup(ca_file ? ca_file : "");
	struct http_client *client = calloc(1, sizeof(*client));
	if (!client || !file) {
		free(client);
		free(file);
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	client->ca_file = file;
	pthread_mutex_init(&client->lock, NULL);
	return client;
}

void http_client_free(struct http_client *client)
{
	if (!client)
		return;
	while (client->idle) {
		struct line *line = client->idle;
		client->idle = line->next;
		line_free(line);
	}
	pthread_mutex_destroy(&client->lock);
	free(client->ca_file);
	free(client);
}

/* Appends what fits; 0, which makes curl give up, past the limit. */
static size_t take_in(struct intake *intake, struct buf *to, size_t max, const char *what,
	const char *bytes, size_t len)
{
	if (len > max || to->len > max - len) {
		intake->over = what;
		intake->over_max = max;
		return 0;
	}
	buf_append(to, bytes, len);
	return to->failed ? 0 : len;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *opaque)
{
	struct intake *intake = opaque;
	return take_in(intake, &intake->response->body, intake->body_max, "body", bytes,
		size * count);
}

static size_t on_header(char *bytes, size_t size, size_t count, void *opaque)
{
	struct intake *intake = opaque;
	size_t len = size * count;
	/* An interim answer (100, a proxy's 200) is followed by the real one. */
	if (len > 5 && !strncmp(bytes, "HTTP/", 5))
		intake->response->headers.len = 0;
	return take_in(intake, &intake->response->headers, intake->headers_max, "header", bytes,
		len);
}

static void slist_free(struct curl_slist **list)
{
	curl_slist_free_all(*list);
}

static int slist_make(const char *const *headers, struct curl_slist **list, struct error *err)
{
	/* No waiting for "100 Continue" before a body is sent. */
	static const char *const always[] = {"Expect:", NULL};
	const char *const *const groups[] = {always, headers};
	for (size_t g = 0; g < array_size(groups); g++) {
		for (const char *const *h = groups[g]; h && *h; h++) {
			if (strpbrk(*h, "\r\n"))
				return error_set(err, ERROR_INVALID,
					"the header %.*s has a line break in it",
					(int)strcspn(*h, ":\r\n"), *h);
			struct curl_slist *grown = curl_slist_append(*list, *h);
			if (!grown)
				return error_set(err, ERROR_CAPACITY, "out of memory");
			*list = grown;
		}
	}
	return 0;
}

/* scheme://host:port of the URL, for messages: paths and queries may hold secrets. */
static void origin_of(const char *url, char *origin, size_t size)
{
	const char *host = strstr(url, "://");
	host = host ? host + 3 : url;
	const char *end = host + strcspn(host, "/?#");
	const char *at = memchr(host, '@', (size_t)(end - host));
	if (at)
		host = at + 1;
	snprintf(origin, size, "%.*s", (int)(end - host), host);
}

static enum error_kind kind_of(CURLcode code)
{
	static const struct {
		CURLcode code;
		enum error_kind kind;
	} kinds[] = {
		{CURLE_URL_MALFORMAT, ERROR_INVALID},
		{CURLE_UNSUPPORTED_PROTOCOL, ERROR_INVALID},
		{CURLE_BAD_FUNCTION_ARGUMENT, ERROR_INVALID},
		{CURLE_PEER_FAILED_VERIFICATION, ERROR_DENIED},
		{CURLE_SSL_CACERT_BADFILE, ERROR_DENIED},
		{CURLE_SSL_ISSUER_ERROR, ERROR_DENIED},
		{CURLE_SSL_CERTPROBLEM, ERROR_DENIED},
		{CURLE_OUT_OF_MEMORY, ERROR_CAPACITY},
	};
	for (size_t i = 0; i < array_size(kinds); i++) {
		if (kinds[i].code == code)
			return kinds[i].kind;
	}
	return ERROR_RETRY; /* name, connection, TLS handshake, transfer */
}

static int prepare(struct http_client *client, CURL *easy, const struct http_request *request,
	struct curl_slist *headers, struct intake *intake, char *why)
{
	uint64_t connect_ns = request->connect_ns ? request->connect_ns : CONNECT_NS;
	CURLcode bad = CURLE_OK;
#define SET(option, value) bad = bad ? bad : curl_easy_setopt(easy, option, value)
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_ERRORBUFFER, why);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_URL, request->url);
	SET(CURLOPT_CUSTOMREQUEST, request->method);
	SET(CURLOPT_HTTPHEADER, headers);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(connect_ns / NS_PER_MS));
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, intake);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, intake);
	SET(CURLOPT_USERAGENT, "peerpod/" PEERPOD_VERSION);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (!strcmp(request->method, "HEAD"))
		SET(CURLOPT_NOBODY, 1L);
	if (request->body) {
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
		SET(CURLOPT_POSTFIELDS, request->body);
	}
	if (*client->ca_file)
		SET(CURLOPT_CAINFO, client->ca_file);
	if (request->direct)
		SET(CURLOPT_PROXY, "");
#undef SET
	return bad ? -1 : 0;
}

/* Until the transfer is done (its code in *code) or the bound is over. */
static int transfer(struct line *line, const struct bound *bound, const char *what, CURLcode *code,
	struct error *err)
{
	for (;;) {
		int running = 0, left = 0;
		if (curl_multi_perform(line->multi, &running) != CURLM_OK)
			return error_set(err, ERROR_INTERNAL, "%s: libcurl failed", what);
		const CURLMsg *message = curl_multi_info_read(line->multi, &left);
		if (message && message->msg == CURLMSG_DONE) {
			*code = message->data.result;
			return 0;
		}
		if (bound_check(bound, what, err) < 0)
			return -1;
		struct curl_waitfd cancel = {.fd = bound->cancel ? cancel_fd(bound->cancel) : -1,
			.events = CURL_WAIT_POLLIN};
		int left_ms = bound_left_ms(bound);
		int wait_ms = left_ms < 0 || left_ms > 1000 ? 1000 : left_ms;
		if (curl_multi_poll(line->multi, &cancel, bound->cancel ? 1 : 0, wait_ms, NULL) !=
			CURLM_OK)
			return error_set(err, ERROR_INTERNAL, "%s: libcurl cannot wait", what);
	}
}

static int fail(CURLcode code, const struct intake *intake, const char *what, const char *why,
	struct error *err)
{
	if (intake->over)
		return error_set(err, ERROR_INVALID,
			"%s: the %s of the answer has more than %zu bytes", what, intake->over,
			intake->over_max);
	if (intake->response->body.failed || intake->response->headers.failed)
		return error_set(err, ERROR_CAPACITY, "%s: out of memory", what);
	return error_set(err, kind_of(code), "%s: %s", what, *why ? why : curl_easy_strerror(code));
}

int http_call(struct http_client *client, const struct http_request *request,
	struct http_response *response, const struct bound *bound, struct error *err)
{
	*response = (struct http_response){0};
	char origin[256], what[300], why[CURL_ERROR_SIZE] = "";
	origin_of(request->url, origin, sizeof(origin));
	snprintf(what, sizeof(what), "%s %s", request->method, origin);
	struct intake intake = {
		.response = response,
		.body_max = request->body_max ? request->body_max : HTTP_BODY_MAX,
		.headers_max = request->headers_max ? request->headers_max : HTTP_HEADERS_MAX,
	};
	if (bound_check(bound, what, err) < 0)
		return -1;
	cleanup(slist_free) struct curl_slist *headers = NULL;
	if (slist_make(request->headers, &headers, err) < 0)
		return error_prefix(err, "%s", what);
	struct line *line = line_take(client);
	if (!line)
		return error_set(err, ERROR_CAPACITY, "%s: out of memory", what);
	CURLcode code = CURLE_OK;
	int result = -1;
	if (prepare(client, line->easy, request, headers, &intake, why) < 0 ||
		curl_multi_add_handle(line->multi, line->easy) != CURLM_OK) {
		error_set(err, ERROR_CAPACITY, "%s: cannot set up the request", what);
	} else {
		result = transfer(line, bound, what, &code, err);
		if (result == 0 && code != CURLE_OK)
			result = fail(code, &intake, what, why, err);
		long status = 0;
		curl_easy_getinfo(line->easy, CURLINFO_RESPONSE_CODE, &status);
		response->status = (int)status;
		/* Removing an unfinished transfer closes its connection. */
		curl_multi_remove_handle(line->multi, line->easy);
	}
	line_put(client, line);
	if (result < 0)
		http_response_free(response);
	return result;
}

bool http_response_header(const struct http_response *response, const char *name, char *value,
	size_t size)
{
	size_t len = strlen(name);
	for (const char *line = buf_text(&response->headers); *line;) {
		const char *end = line + strcspn(line, "\r\n");
		if (!strncasecmp(line, name, len) && line[len] == ':') {
			const char *start = line + len + 1;
			while (start < end && (*start == ' ' || *start == '\t'))
				start++;
			while (end > start && (end[-1] == ' ' || end[-1] == '\t'))
				end--;
			snprintf(value, size, "%.*s", (int)(end - start), start);
			return true;
		}
		line = end + strspn(end, "\r\n");
	}
	return false;
}

int64_t http_response_date(const struct http_response *response)
{
	char text[64];
	if (!http_response_header(response, "Date", text, sizeof(text)))
		return 0;
	time_t when = curl_getdate(text, NULL);
	return when > 0 ? when : 0;
}

uint64_t http_response_retry_after_ns(const struct http_response *response)
{
	char text[64];
	if (!http_response_header(response, "Retry-After", text, sizeof(text)))
		return 0;
	int64_t seconds = 0;
	if (*text && strspn(text, "0123456789") == strlen(text)) {
		seconds = strlen(text) > 9 ? RETRY_AFTER_MAX_S : strtoll(text, NULL, 10);
	} else {
		/* A date counts from the sender's clock where it tells it. */
		time_t when = curl_getdate(text, NULL);
		int64_t now = http_response_date(response);
		seconds = when > 0 ? when - (now ? now : time(NULL)) : 0;
	}
	if (seconds <= 0)
		return 0;
	return (uint64_t)(seconds < RETRY_AFTER_MAX_S ? seconds : RETRY_AFTER_MAX_S) * NS_PER_S;
}

void http_response_free(struct http_response *response)
{
	buf_wipe(&response->headers);
	buf_wipe(&response->body);
	response->status = 0;
}
