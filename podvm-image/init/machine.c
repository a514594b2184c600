/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.c - see machine.h
 *
 * The order is chosen for the time until the forwarder answers: the network modules come first, because
 * the DHCP answer can then travel while the other modules are loaded.
 */
#include "machine.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bound.h"
#include "base/file.h"
#include "base/log.h"
#include "cmdline.h"
#include "interface.h"
#include "medium.h"
#include "modules.h"
#include "mounts.h"
#include "stage.h"

#define CMDLINE_MAX ((size_t)64 * 1024)
#define BUSYBOX "/bin/busybox"

/* The scratch disk: where an agent that pulls images unpacks them. */
#define SCRATCH_LABEL "podvm-scratch"
#define SCRATCH_PATH "/run/kata-containers/image"

/* A medium that is plugged in is there within milliseconds of its driver; this is for slow buses. */
#define MEDIUM_TIMEOUT_NS (5 * NS_PER_S)
/* Without a medium the user data is behind the network, and there is nothing to do before. */
#define NETWORK_TIMEOUT_NS (60 * NS_PER_S)

static int start_dhcp(struct pod *pod, const char *device, const struct settings *settings,
	struct error *err)
{
	struct service *dhcp = &pod->services[POD_DHCP];
	dhcp->name = "udhcpc";
	cleanup(free_ptr) char *script = settings_program(settings, "podvm-dhcp");
	if (!script)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	/*
	 * In the foreground, for ever: leases of a pod network may last two minutes only. Discover is sent
	 * anew every second, and without a pause between rounds: somebody is waiting for this pod.
	 */
	const char *const args[] = {BUSYBOX, "udhcpc", "-f", "-i", device, "-s", script, "-T", "1",
		"-A", "1", "-O", "mtu"};
	for (size_t i = 0; i < array_size(args); i++) {
		if (service_add(dhcp, args[i], err) < 0)
			return -1;
	}
	return service_start(dhcp, err);
}

static int set_address(const struct cmdline_network *wanted, const char *device, struct error *err)
{
	if (interface_add_address(device, wanted->address, err) < 0)
		return -1;
	if (*wanted->gateway && interface_set_gateway(device, wanted->gateway, err) < 0)
		return -1;
	cleanup(buf_free) struct buf text = BUF_INIT;
	for (size_t i = 0; i < array_size(wanted->dns); i++) {
		if (*wanted->dns[i])
			buf_printf(&text, "nameserver %s\n", wanted->dns[i]);
	}
	if (text.len && file_write("/etc/resolv.conf", 0644, text.data, text.len, err) < 0)
		return -1;
	stage_line("network %s on %s", wanted->address, device);
	return 0;
}

static int start_network(struct pod *pod, const struct settings *settings, struct error *err)
{
	cleanup(buf_free) struct buf line = BUF_INIT;
	struct cmdline_network wanted;
	if (file_read("/proc/cmdline", CMDLINE_MAX, &line, err) < 0 ||
		cmdline_network(buf_text(&line), &wanted, err) < 0)
		return -1;
	if (interface_up("lo", err) < 0)
		return -1;
	if (wanted.mode == CMDLINE_NETWORK_OFF)
		return 0;

	char device[32];
	if (*wanted.device)
		snprintf(device, sizeof(device), "%s", wanted.device);
	else if (interface_first(device, sizeof(device), err) < 0)
		return -1;
	if (interface_up(device, err) < 0)
		return -1;
	if (wanted.mode == CMDLINE_NETWORK_STATIC)
		return set_address(&wanted, device, err);
	return start_dhcp(pod, device, settings, err);
}

int machine_start(struct pod *pod, const struct settings *settings, struct error *err)
{
	if (mounts_make(err) < 0)
		return -1;
	if (sethostname("podvm", strlen("podvm")) < 0)
		return error_set_errno(err, errno, "set the host name");
	reboot(RB_DISABLE_CAD); /* Ctrl-Alt-Del asks us instead of resetting the machine */
	/* A shell's idea of where programs are; the agent looks for crun there. */
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	stage_line("file systems");

	size_t loaded;
	if (modules_load(settings->modules, MODULES_NETWORK, &loaded, err) < 0)
		return -1;
	stage_line("modules for the network: %zu", loaded);
	if (start_network(pod, settings, err) < 0)
		return -1;
	if (modules_load(settings->modules, MODULES_MEDIUM, &loaded, err) < 0)
		return -1;
	stage_line("modules for media: %zu", loaded);

	char from[64];
	struct error missing = ERROR_INIT;
	if (medium_provide(INIT_USER_DATA, MEDIUM_TIMEOUT_NS, from, sizeof(from), &missing) == 0) {
		stage_line("medium %s", from);
		return 0;
	}
	log_warn("%s: waiting for the network instead", error_message(&missing));
	error_clear(&missing);
	return pod_wait_network(pod, NETWORK_TIMEOUT_NS, err);
}

static void mount_scratch(void)
{
	char device[64];
	cleanup_error err = ERROR_INIT;
	if (medium_find(MEDIUM_EXT4, SCRATCH_LABEL, device, sizeof(device)) < 0)
		return; /* then images are unpacked into memory */
	if (dir_make(SCRATCH_PATH, 0755, &err) < 0) {
		log_warn("scratch disk: %s", error_message(&err));
		return;
	}
	if (mount(device, SCRATCH_PATH, "ext4", MS_NOATIME | MS_NODEV, NULL) < 0) {
		log_warn("scratch disk %s: %s; images are unpacked into memory", device,
			strerror(errno));
		return;
	}
	stage_line("scratch disk %s", device);
}

int machine_finish(const struct settings *settings, struct error *err)
{
	size_t loaded;
	if (modules_load(settings->modules, MODULES_POD, &loaded, err) < 0)
		return -1;
	stage_line("modules for the pod: %zu", loaded);
	mount_scratch();
	return 0;
}

void machine_end(void)
{
	/* Only a machine's first process comes here: this ends its programs, not somebody else's. */
	kill(-1, SIGKILL);
	umount2(SCRATCH_PATH, MNT_DETACH);
	sync();
	stage_line("power off");
	reboot(RB_POWER_OFF);
	for (;;)
		pause(); /* a first process that returns would make the kernel panic */
}
