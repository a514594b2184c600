/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pause.c - the process of a sandbox container: it holds the pod's namespaces and reaps orphans
 *
 * Built without a C library, as one small static program that mini-agent carries inside itself.
 * SIGTERM and SIGINT end it; they need handlers, because the first process of a PID namespace gets
 * no signal without one. Ended children vanish by themselves where SIGCHLD is ignored.
 */
#include <stddef.h>
#include <sys/syscall.h>

#define SIGNAL_INT 2
#define SIGNAL_TERM 15
#define SIGNAL_CHLD 17
#define IGNORE ((void (*)(int))1)
/* Some processors insist on a function that returns from handlers, though ours never return. */
#define HAS_RESTORER 0x04000000UL

/* As the kernel has it. */
struct kernel_sigaction {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	unsigned long mask;
};

static long call4(long number, long a, long b, long c, long d)
{
#if defined(__x86_64__)
	long result;
	register long r10 __asm__("r10") = d;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
#elif defined(__s390x__)
	register long r1 __asm__("1") = number;
	register long r2 __asm__("2") = a;
	register long r3 __asm__("3") = b;
	register long r4 __asm__("4") = c;
	register long r5 __asm__("5") = d;
	__asm__ volatile("svc 0" : "+d"(r2) : "d"(r1), "d"(r3), "d"(r4), "d"(r5) : "memory");
	return r2;
#else
#error "pause.c: no system calls for this processor"
#endif
}

static void end(int number)
{
	(void)number;
	call4(SYS_exit_group, 0, 0, 0, 0);
}

static void never(void)
{
	end(0);
}

static void handle(int number, void (*handler)(int))
{
	struct kernel_sigaction action = {handler, HAS_RESTORER, never, 0};
	call4(SYS_rt_sigaction, number, (long)&action, 0, sizeof(action.mask));
}

void _start(void);

void _start(void)
{
	handle(SIGNAL_TERM, end);
	handle(SIGNAL_INT, end);
	handle(SIGNAL_CHLD, IGNORE);
	for (;;)
		call4(SYS_ppoll, 0, 0, 0, 0);
}
