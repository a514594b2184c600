/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nftables.c - see nftables.h
 *
 * The library and what it is built on take 1.2 MiB: a node without peer pods does without. It is loaded for the first
 * command and stays.
 */
#include "podnetwork/nftables.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <nftables/libnftables.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "base/cleanup.h"

#define LIBRARY "libnftables.so.1"
#define ATTEMPTS 5 /* others change the rule set at the same time */

/* ---- the library ---- */

static struct {
	__typeof__(nft_ctx_new) *ctx_new;
	__typeof__(nft_ctx_free) *ctx_free;
	__typeof__(nft_ctx_buffer_output) *buffer_output;
	__typeof__(nft_ctx_buffer_error) *buffer_error;
	__typeof__(nft_ctx_get_output_buffer) *output;
	__typeof__(nft_ctx_get_error_buffer) *error;
	__typeof__(nft_ctx_output_set_flags) *set_flags;
	__typeof__(nft_run_cmd_from_buffer) *run;
} nft;

static const struct {
	const char *name;
	void *to;
} functions[] = {
	{"nft_ctx_new", &nft.ctx_new},
	{"nft_ctx_free", &nft.ctx_free},
	{"nft_ctx_buffer_output", &nft.buffer_output},
	{"nft_ctx_buffer_error", &nft.buffer_error},
	{"nft_ctx_get_output_buffer", &nft.output},
	{"nft_ctx_get_error_buffer", &nft.error},
	{"nft_ctx_output_set_flags", &nft.set_flags},
	{"nft_run_cmd_from_buffer", &nft.run},
};

static void *open_library(struct error *err)
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		error_set(err, ERROR_UNSUPPORTED, "nftables: %s; Debian's package is libnftables1",
			dlerror());
	return library;
}

static int load(struct error *err)
{
	if (nft.run)
		return 0;
	void *library = open_library(err);
	if (!library)
		return -1;
	/* The last is what says that all are there. */
	for (size_t i = 0; i < array_size(functions); i++) {
		void *function = dlsym(library, functions[i].name);
		if (!function) {
			dlclose(library);
			return error_set(err, ERROR_UNSUPPORTED, "nftables: " LIBRARY " has no %s",
				functions[i].name);
		}
		memcpy(functions[i].to, &function, sizeof(function));
	}
	return 0;
}

int nftables_check(struct error *err)
{
	void *library = open_library(err);
	return library ? dlclose(library) : -1;
}

static void free_context(struct nft_ctx **context)
{
	if (*context)
		nft.ctx_free(*context);
}

/* *gone is set, where it is not NULL, when what was named is not there. */
static int run(const char *commands, unsigned int flags, struct buf *output, bool *gone,
	struct error *err)
{
	if (load(err) < 0)
		return -1;
	for (int attempt = 1;; attempt++) {
		cleanup(free_context) struct nft_ctx *context = nft.ctx_new(NFT_CTX_DEFAULT);
		if (!context)
			return error_set(err, ERROR_CAPACITY, "out of memory for nftables");
		nft.buffer_output(context);
		nft.buffer_error(context);
		nft.set_flags(context, flags);
		if (!nft.run(context, commands)) {
			if (output)
				buf_append_text(output, nft.output(context));
			return 0;
		}
		const char *why = nft.error(context);
		if (gone && strstr(why, "No such file or directory")) {
			*gone = true;
			return 0;
		}
		/* Somebody else's transaction came between reading and writing. */
		bool passing =
			strstr(why, "Interrupted") || strstr(why, "busy") || strstr(why, "restart");
		if (passing && attempt < ATTEMPTS)
			continue;
		int first_line = (int)strcspn(why, "\n");
		error_set(err, ERROR_INTERNAL, "nftables table inet peerpod: %.*s", first_line,
			why);
		if (strstr(why, "not permitted"))
			error_append(err, "; CAP_NET_ADMIN is needed");
		else if (strstr(why, "not supported") || strstr(why, "No such file"))
			error_append(err, "; kernel modules nf_tables and nft_ct are needed");
		return -1;
	}
}

int nftables_run(const char *commands, struct error *err)
{
	return run(commands, 0, NULL, NULL, err);
}

int nftables_list(const char *table, struct buf *json, bool *gone, struct error *err)
{
	char command[128];
	snprintf(command, sizeof(command), "list table inet %s", table);
	/* "-n": ports and numbers as numbers. */
	return run(command,
		NFT_CTX_OUTPUT_JSON | NFT_CTX_OUTPUT_NUMERIC_ALL | NFT_CTX_OUTPUT_STATELESS, json,
		gone, err);
}

/* ---- the kernel ---- */

#define NFT_TYPE(message) (NFNL_SUBSYS_NFTABLES << 8 | (message))

struct question {
	struct nlmsghdr header;
	struct nfgenmsg family;
	char attributes[64];
};

union answer {
	struct nlmsghdr header;
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
	} failure;
	char bytes[1024];
};

/* One message each way; false where there is no answer. */
static bool ask(int message, uint8_t family, size_t attributes_len, struct question *question,
	union answer *answer)
{
	size_t len = offsetof(struct question, attributes) + attributes_len;
	question->header = (struct nlmsghdr){
		.nlmsg_len = (uint32_t)len,
		.nlmsg_type = (uint16_t)NFT_TYPE(message),
		.nlmsg_flags = NLM_F_REQUEST,
	};
	question->family = (struct nfgenmsg){.nfgen_family = family, .version = NFNETLINK_V0};
	cleanup(close_fd) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (fd < 0 || send(fd, question, len, 0) < 0)
		return false;
	ssize_t n = recv(fd, answer, sizeof(*answer), 0);
	return n >= (ssize_t)NLMSG_LENGTH(sizeof(struct nfgenmsg)) && answer->header.nlmsg_len <= n;
}

uint32_t nftables_generation(void)
{
	struct question question = {0};
	union answer answer = {0};
	if (!ask(NFT_MSG_GETGEN, AF_UNSPEC, 0, &question, &answer) ||
		answer.header.nlmsg_type != NFT_TYPE(NFT_MSG_NEWGEN))
		return 0;
	struct nlattr *id = nlmsg_find_attr(&answer.header, sizeof(struct nfgenmsg), NFTA_GEN_ID);
	return id && nla_len(id) == sizeof(uint32_t) ? ntohl(nla_get_u32(id)) : 0;
}

bool nftables_table_missing(const char *table)
{
	struct question question = {0};
	union answer answer = {0};
	size_t size = strlen(table) + 1;
	struct nlattr *name = (struct nlattr *)question.attributes;
	if (nla_total_size((int)size) > (int)sizeof(question.attributes))
		return false;
	name->nla_type = NFTA_TABLE_NAME;
	name->nla_len = (uint16_t)nla_attr_size((int)size);
	memcpy(nla_data(name), table, size);
	return ask(NFT_MSG_GETTABLE, NFPROTO_INET, (size_t)nla_total_size((int)size), &question,
		       &answer) &&
	       answer.header.nlmsg_type == NLMSG_ERROR &&
	       answer.header.nlmsg_len >= NLMSG_LENGTH(sizeof(struct nlmsgerr)) &&
	       answer.failure.error.error == -ENOENT;
}
