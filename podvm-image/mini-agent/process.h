/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.h - a process in a container: its input, its outputs, its end
 */
#ifndef PEERPOD_MINI_AGENT_PROCESS_H
#define PEERPOD_MINI_AGENT_PROCESS_H

#include <pthread.h>
#include <stdatomic.h>
#include "base/buf.h"
#include "crun.h"

struct process {
	atomic_int references;
	struct process *next; /* guarded by the container */
	char *exec_id;
	bool terminal;
	struct child child;
	pthread_mutex_t lock;               /* guards the descriptors */
	int stdin_fd, stdout_fd, stderr_fd; /* our ends; with a terminal all of it is stdin_fd */
};

enum process_output { PROCESS_STDOUT, PROCESS_STDERR };

struct process *process_new(const char *exec_id, bool terminal, struct error *err);
struct process *process_ref(struct process *process);
void process_unref(struct process *process);
DEFINE_CLEANUP(struct process, process_unref)

/* The other ends, for the time in which the runtime starts the process. */
struct process_ends {
	int fds[3];
	int console_fd; /* listens for the terminal; -1 */
	char console_path[108];
};
int process_open(struct process *process, const char *state_dir, struct process_ends *ends,
	struct error *err);
/* The runtime is done: takes the terminal over. */
int process_opened(struct process *process, struct process_ends *ends, const struct bound *bound,
	struct error *err);
void process_ends_close(struct process_ends *ends);

/* Appends 1 to max bytes; 0 bytes are the end. Waits. A call that gives up swallows nothing. */
int process_read(struct process *process, enum process_output which, size_t max, struct buf *out,
	const struct bound *bound, struct error *err);

/* Writes all of it, as fast as the process reads. */
int process_write(struct process *process, const void *data, size_t len, const struct bound *bound,
	struct error *err);

/* The end of the input; nothing with a terminal, where that is a character. */
void process_close_stdin(struct process *process);

int process_resize(struct process *process, unsigned rows, unsigned columns, struct error *err);

#endif
