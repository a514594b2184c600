/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tags.h - whose an instance is, as tags on everything that is made for it
 */
#ifndef PEERPOD_AWS_TAGS_H
#define PEERPOD_AWS_TAGS_H

#define TAG_PREFIX "peerpod-"
#define TAG_TOKEN TAG_PREFIX "token" /* what carries it is ours */
#define TAG_CLUSTER TAG_PREFIX "cluster"
#define TAG_NODE TAG_PREFIX "node"
#define TAG_NAMESPACE TAG_PREFIX "namespace"
#define TAG_POD TAG_PREFIX "pod"
#define TAG_SANDBOX TAG_PREFIX "sandbox"

#endif
