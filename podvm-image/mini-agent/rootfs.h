/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rootfs.h - root file systems of containers, from bundles
 */
#ifndef PEERPOD_MINI_AGENT_ROOTFS_H
#define PEERPOD_MINI_AGENT_ROOTFS_H

#include <stdbool.h>
#include "base/error.h"

/*
 * What an image is called in the bundles: "registry/team/web:1@sha256:..." is "web". NULL: it has
 * no name.
 */
char *bundle_name(const char *image);

struct rootfs {
	char *path;    /* the container's root */
	char *scratch; /* what it changes, where an overlay is used; else NULL */
	bool mounted;
};

/*
 * Makes path the root file system of the bundle: an overlay whose changes go to a folder below
 * scratch, or where the kernel has no overlay, a copy.
 */
int rootfs_from_bundle(struct rootfs *rootfs, const char *path, const char *bundle_rootfs,
	const char *scratch, const char *id, struct error *err);

/* A root that holds nothing but the pause program, as /pause. */
int rootfs_for_pause(struct rootfs *rootfs, const char *path, struct error *err);

void rootfs_remove(struct rootfs *rootfs);

/* Removes a tree without crossing into other file systems. One that is gone is fine. */
int tree_remove(const char *path, struct error *err);

#endif
