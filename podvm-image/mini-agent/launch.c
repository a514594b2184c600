/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.c - see launch.h
 *
 * Why own_root: whoever joins a mount namespace gets the namespace's root, not the changed root
 * (chroot) of those who are in it already. A container that was made below a changed root therefore
 * shows the machine's files to every later exec. Where mini-agent runs below a changed root, the
 * runtime gets a mount namespace whose real root is that folder.
 */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* In a mount namespace of our own. */
static int take_root(void)
{
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	/* Joining our own namespace leads to its real root. */
	if (root < 0 || ns < 0 || setns(ns, CLONE_NEWNS) < 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return errno;
	/* A mount of the folder on itself, because only a mount can become the root. */
	int tree = open_tree(root, "",
		OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_EMPTY_PATH);
	if (tree < 0 ||
		move_mount(tree, "", root, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) <
			0 ||
		fchdir(tree) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
		umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return errno;
	close(root);
	close(ns);
	close(tree);
	return 0;
}

static int hide_cgroups(void)
{
	/* Private first: the mount must not spread to where it would hide them from others. */
	if (mount(NULL, "/sys/fs/cgroup", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("none", "/sys/fs/cgroup", "tmpfs", MS_RDONLY, "size=0,nr_inodes=1") < 0)
		return errno;
	return 0;
}

static int join(const char *const *cgroups)
{
	for (; cgroups && *cgroups; cgroups++) {
		int fd = open(*cgroups, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, "0", 1) < 0)
			return errno;
		close(fd);
	}
	return 0;
}

int launch_become(const struct launch *launch)
{
	sigset_t none;
	sigemptyset(&none);
	setsid();
	int errnum = join(launch->cgroups);
	if (!errnum && (launch->own_root || launch->hide_cgroups) && unshare(CLONE_NEWNS) < 0)
		errnum = errno;
	if (!errnum && launch->own_root)
		errnum = take_root();
	if (!errnum && launch->hide_cgroups)
		errnum = hide_cgroups();
	if (errnum)
		return errnum;
	for (int i = 0; i < 3; i++) {
		int fd = launch->stdio[i];
		if (fd < 0)
			fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (fd < 0 || dup2(fd, i) < 0)
			return errno;
	}
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	execv(launch->argv[0], (char *const *)launch->argv);
	return errno;
}

/* ---- the probe ------------------------------------------------------------------------------- */

static bool root_is_changed(void)
{
	struct statx ours, real;
	unsigned mask = STATX_INO | STATX_MNT_ID;
	int ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	/* A process with threads (a sanitizer's) may join only once its root is its own affair. */
	return statx(AT_FDCWD, "/", 0, mask, &ours) == 0 && unshare(CLONE_FS) == 0 &&
	       setns(ns, CLONE_NEWNS) == 0 && statx(AT_FDCWD, "/", 0, mask, &real) == 0 &&
	       (ours.stx_ino != real.stx_ino || ours.stx_mnt_id != real.stx_mnt_id);
}

static bool pivot_works(const char *folder, bool own_root)
{
	return unshare(CLONE_NEWNS) == 0 && (!own_root || take_root() == 0) &&
	       (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0 || errno == EINVAL) &&
	       mount("none", folder, "tmpfs", 0, "size=64k") == 0 && chdir(folder) == 0 &&
	       syscall(SYS_pivot_root, ".", ".") == 0;
}

/* In a child each, because every answer changes the one who asks. */
static bool ask(const char *folder, bool own_root, bool whether_changed)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit((whether_changed ? root_is_changed() : pivot_works(folder, own_root)) ? 1
											    : 0);
	int status = 0;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

enum pivot_need launch_probe_pivot(const char *folder)
{
	if (!ask(folder, false, true) && ask(folder, false, false))
		return PIVOT_WORKS;
	return ask(folder, true, false) ? PIVOT_NEEDS_OWN_ROOT : PIVOT_IMPOSSIBLE;
}
