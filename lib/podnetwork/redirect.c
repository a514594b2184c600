/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redirect.c - see redirect.h
 *
 * The qdisc is clsact, or whatever ingress qdisc a CNI put there before. The filter has a fixed
 * place (priority 1, handle 800::1), so that adding it again replaces it. u32 with one key of
 * zeros matches everything; it is the classifier that the oldest kernels have.
 */
#include "podnetwork/redirect.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <string.h>

#define FILTER_PRIORITY 1
#define FILTER_HANDLE 0x80000001 /* 800::1: hash table 800, bucket 0, node 1 */

static int add_qdisc(struct netlink *nl, int index)
{
	struct tcmsg header = {
		.tcm_family = AF_UNSPEC,
		.tcm_ifindex = index,
		.tcm_parent = TC_H_CLSACT,
		.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0),
	};
	struct nl_msg *msg =
		netlink_request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));
	if (!msg)
		return ENOMEM;
	if (nla_put_string(msg, TCA_KIND, "clsact")) {
		nlmsg_free(msg);
		return ENOMEM;
	}
	return netlink_talk(nl, msg, NULL);
}

static int put_mirred(struct nl_msg *msg, int to_index)
{
	const struct tc_mirred mirred = {
		.action = TC_ACT_STOLEN,
		.eaction = TCA_EGRESS_REDIR,
		.ifindex = (uint32_t)to_index,
	};
	struct nlattr *actions = nla_nest_start(msg, TCA_U32_ACT);
	struct nlattr *first = actions ? nla_nest_start(msg, 1) : NULL;
	if (!first || nla_put_string(msg, TCA_ACT_KIND, "mirred"))
		return -1;
	struct nlattr *options = nla_nest_start(msg, TCA_ACT_OPTIONS);
	if (!options || nla_put(msg, TCA_MIRRED_PARMS, sizeof(mirred), &mirred))
		return -1;
	nla_nest_end(msg, options);
	nla_nest_end(msg, first);
	nla_nest_end(msg, actions);
	return 0;
}

/* A selector with one key, all zeros: no bit is compared. */
static int put_match_all(struct nl_msg *msg)
{
	const size_t size = sizeof(struct tc_u32_sel) + sizeof(struct tc_u32_key);
	struct nlattr *attribute = nla_reserve(msg, TCA_U32_SEL, (int)size);
	if (!attribute)
		return -1;
	struct tc_u32_sel *selector = memset(nla_data(attribute), 0, size);
	selector->flags = TC_U32_TERMINAL;
	selector->nkeys = 1;
	return 0;
}

static int replace_filter(struct netlink *nl, int from_index, int to_index)
{
	struct tcmsg header = {
		.tcm_family = AF_UNSPEC,
		.tcm_ifindex = from_index,
		.tcm_parent = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS),
		.tcm_handle = FILTER_HANDLE,
		.tcm_info = TC_H_MAKE(FILTER_PRIORITY << 16, htons(ETH_P_ALL)),
	};
	struct nl_msg *msg = netlink_request(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE, &header,
		sizeof(header));
	if (!msg)
		return ENOMEM;
	struct nlattr *options = NULL;
	if (nla_put_string(msg, TCA_KIND, "u32") || !(options = nla_nest_start(msg, TCA_OPTIONS)) ||
		put_match_all(msg) || put_mirred(msg, to_index)) {
		nlmsg_free(msg);
		return ENOMEM;
	}
	nla_nest_end(msg, options);
	return netlink_talk(nl, msg, NULL);
}

int redirect_ensure(struct netlink *nl, int from_index, int to_index, struct error *err)
{
	int errnum = add_qdisc(nl, from_index);
	if (errnum && errnum != EEXIST)
		return netlink_error(nl, errnum, err,
			"add the clsact qdisc (kernel module sch_ingress)");
	errnum = replace_filter(nl, from_index, to_index);
	if (errnum)
		return netlink_error(nl, errnum, err,
			"add the redirect filter (kernel modules cls_u32, act_mirred)");
	return 0;
}
