/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.h - the agent that the benchmark talks to: as little work a call as possible
 *
 * Check answers SERVING; Read answers with as many bytes as the request's payload says (4 bytes, most significant
 * first); everything else but peerpod.Session answers nothing, whatever was sent.
 */
#ifndef PEERPOD_BENCH_AGENT_H
#define PEERPOD_BENCH_AGENT_H

/* Serves connections of both listening sockets until the process is killed. */
void bench_agent(int unix_fd, int tcp_fd);

#endif
