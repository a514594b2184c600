/* SPDX-License-Identifier: Apache-2.0 */
/* place.c - see place.h */
#include "providers/azure/place.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "http/attempt.h"
#include "providers/azure/arm_id.h"
#include "providers/azure/imds.h"
#include "providers/azure/vm.h"

#define PATH "/metadata/instance/compute?api-version=2021-01-01"

void place_free(struct place *place)
{
	free(place->subscription);
	free(place->region);
	free(place->resource_group);
	*place = (struct place){0};
}

int place_read(const void *text, size_t len, struct place *place, struct error *err)
{
	static const char *const keys[] = {"subscriptionId", "location", "resourceGroupName"};
	char **const to[] = {&place->subscription, &place->region, &place->resource_group};
	*place = (struct place){0};
	cleanup_json *answer =
		json_parse("instance metadata service", text, len, IMDS_ANSWER_MAX, true, err);
	if (!answer)
		return -1;
	for (size_t i = 0; i < array_size(keys); i++) {
		const char *value = text_of(answer, keys[i], NULL);
		*to[i] = is_arm_name(value) ? strdup(value) : NULL;
		if (*to[i])
			continue;
		place_free(place);
		return error_set(err, ERROR_INVALID,
			"instance metadata service: its \"%s\" is \"%.80s\"", keys[i], value);
	}
	return 0;
}

static int ask_once(struct http_client *http, const struct azure_options *o, struct place *place,
	const struct bound *bound, struct error *err)
{
	cleanup_response response = {0};
	if (imds_get(http, o, PATH, &response, bound, err) < 0) {
		/* Where there is no such service, nothing comes of asking again. */
		if (err->kind == ERROR_RETRY)
			err->kind = ERROR_UNSUPPORTED;
		return -1;
	}
	if (response.status == 200)
		return place_read(response.body.data, response.body.len, place, err);
	bool passing = response.status == 410 || response.status == 429 || response.status >= 500;
	return error_set(err, passing ? ERROR_RETRY : ERROR_UNSUPPORTED,
		"instance metadata service: HTTP %d", response.status);
}

static int ask(const struct azure_options *o, struct place *place, const struct bound *bound,
	struct error *err)
{
	struct http_client *http = http_client_new(o->ca_bundle, err);
	struct attempt attempt = {.who = "azure"};
	int result = -1;
	while (http && (result = ask_once(http, o, place, bound, err)) < 0 &&
		attempt_again(&attempt, 0, bound, err))
		error_clear(err);
	http_client_free(http);
	return result;
}

int place_fill(struct place *place, struct azure_options *o, const struct bound *bound,
	struct error *err)
{
	cleanup_error why = ERROR_INIT;
	cleanup(buf_free) struct buf missing = BUF_INIT;
	const struct {
		const char *variable;
		char **option, **found;
	} all[] = {
		{"AZURE_SUBSCRIPTION_ID (-subscriptionid)", &o->subscription, &place->subscription},
		{"AZURE_REGION (-region)", &o->region, &place->region},
		{"AZURE_RESOURCE_GROUP (-resourcegroup)", &o->resource_group,
			&place->resource_group},
	};
	for (size_t i = 0; i < array_size(all); i++) {
		if (!**all[i].option)
			buf_printf(&missing, "%s%s", missing.len ? ", " : "", all[i].variable);
	}
	if (!missing.len)
		return 0;
	if (ask(o, place, bound, &why) < 0) {
		if (bound_check(bound, "ask the instance metadata service", err) < 0)
			return -1;
		return error_set(err, ERROR_INVALID,
			"not set, and not told by this machine: %s (%s)", buf_text(&missing),
			error_message(&why));
	}
	for (size_t i = 0; i < array_size(all); i++) {
		if (**all[i].option) {
			free(take_ptr(*all[i].found));
			continue;
		}
		*all[i].option = *all[i].found;
		log_info("azure: %s is not set: %s, that of this machine", all[i].variable,
			*all[i].found);
	}
	return 0;
}
