/* SPDX-License-Identifier: Apache-2.0 */
/* descriptors.h - how many files and sockets this process may have open */
#ifndef PEERPOD_BASE_DESCRIPTORS_H
#define PEERPOD_BASE_DESCRIPTORS_H

/*
 * Raises the soft limit to what is allowed. A session, and a container of a newer containerd, begins with 1024 for the sake
 * of select(2), which nothing here uses: a node with 250 pods needs more, and so do a hundred starts at once.
 */
void descriptors_allow_many(void);

#endif
