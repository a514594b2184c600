/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay_private.h - shared by relay.c (frames on their way) and relay_recover.c (when the back breaks)
 */
#ifndef PEERPOD_VSOCK_RELAY_PRIVATE_H
#define PEERPOD_VSOCK_RELAY_PRIVATE_H

#include "vsock-proxy/relay.h"

/* Ends a call with a status, whoever made it. */
void relay_end_call(struct relay *relay, struct call *call, int32_t code, const char *message);

/* The next stream id on the back. */
uint32_t relay_take_id(struct relay *relay);

/* Stops whoever is to be stopped, where logs are full already. */
void relay_hold_back(struct relay *relay);

void frame_set_stream(uint8_t *frame, uint32_t stream);

#endif
