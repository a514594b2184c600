/* SPDX-License-Identifier: Apache-2.0 */
/* modules.c - see modules.h */
#include "modules.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

#define LIST_SIZE_MAX ((size_t)64 * 1024)
#define LIST_COUNT_MAX 512

static const char *const group_names[] = {
	[MODULES_NETWORK] = "[network]",
	[MODULES_MEDIUM] = "[media]",
	[MODULES_POD] = "[pod]",
};

void modules_free(struct module_list *list)
{
	free(list->text);
	free(list->modules);
	*list = (struct module_list){0};
}

static int read_group(const char *name, size_t number, const char *line, int *group,
	struct error *err)
{
	for (size_t i = 0; i < array_size(group_names); i++) {
		if (!strcmp(line, group_names[i])) {
			*group = (int)i;
			return 0;
		}
	}
	return error_set(err, ERROR_INVALID,
		"%s, line %zu: unknown group %s; there are [network], [media] and [pod]", name,
		number, line);
}

static int add(struct module_list *list, enum modules_group group, char *line, struct error *err)
{
	char *parameters = line + strcspn(line, " \t");
	if (*parameters) {
		*parameters++ = 0;
		parameters += strspn(parameters, " \t");
	}
	struct module *grown = realloc(list->modules, (list->count + 1) * sizeof(*grown));
	if (!grown)
		return error_set(err, ERROR_CAPACITY, "module list: out of memory");
	list->modules = grown;
	list->modules[list->count++] = (struct module){group, line, parameters};
	return 0;
}

static int parse_line(const char *name, size_t number, char *line, struct module_list *list,
	int *group, struct error *err)
{
	line[strcspn(line, "#")] = 0;
	line += strspn(line, " \t\r");
	for (size_t len = strlen(line); len && strchr(" \t\r", line[len - 1]); len--)
		line[len - 1] = 0;
	if (!*line)
		return 0;
	if (*line == '[')
		return read_group(name, number, line, group, err);
	if (*group < 0)
		return error_set(err, ERROR_INVALID,
			"%s, line %zu: \"%s\" stands before the first group", name, number, line);
	if (*line == '/' || strstr(line, ".."))
		return error_set(err, ERROR_INVALID,
			"%s, line %zu: \"%s\" must be relative to the list's folder", name, number,
			line);
	if (list->count == LIST_COUNT_MAX)
		return error_set(err, ERROR_INVALID, "%s, line %zu: more than %d modules", name,
			number, LIST_COUNT_MAX);
	return add(list, (enum modules_group) * group, line, err);
}

int modules_parse(const char *name, const char *text, struct module_list *list, struct error *err)
{
	*list = (struct module_list){.text = strdup(text)};
	if (!list->text)
		return error_set(err, ERROR_CAPACITY, "%s: out of memory", name);
	int group = -1;
	size_t number = 0;
	char *rest = list->text;
	for (char *line; (line = strsep(&rest, "\n"));) {
		if (parse_line(name, ++number, line, list, &group, err) < 0) {
			modules_free(list);
			return -1;
		}
	}
	return 0;
}

static int load(const char *folder, const struct module *module, size_t *loaded, struct error *err)
{
	cleanup(free_ptr) char *path = NULL;
	if (asprintf(&path, "%s/%s", folder, module->file) < 0) {
		path = NULL;
		return error_set(err, ERROR_CAPACITY, "module %s: out of memory", module->file);
	}
	cleanup(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(err, errno, "module %s", path);
	if (syscall(SYS_finit_module, fd, module->parameters, 0) == 0) {
		(*loaded)++;
		return 0;
	}
	if (errno == EEXIST)
		return 0;
	/* No such device; or unknown symbols, because a module that it needs found no such device. */
	if (errno == ENODEV || errno == ENOENT) {
		log_info("module %s: not for this machine", module->file);
		return 0;
	}
	/* The kernel log says more, for example which symbol is unknown. */
	return error_set_errno(err, errno, "load module %s", path);
}

int modules_load(const char *path, enum modules_group group, size_t *loaded, struct error *err)
{
	*loaded = 0;
	cleanup(buf_free) struct buf text = BUF_INIT;
	if (file_read(path, LIST_SIZE_MAX, &text, err) < 0)
		return error_prefix(err, "module list");
	cleanup(modules_free) struct module_list list = {0};
	if (modules_parse(path, buf_text(&text), &list, err) < 0)
		return -1;
	cleanup(free_ptr) char *copy = strdup(path);
	if (!copy)
		return error_set(err, ERROR_CAPACITY, "module list: out of memory");
	const char *folder = dirname(copy);
	for (size_t i = 0; i < list.count; i++) {
		if (list.modules[i].group == group &&
			load(folder, &list.modules[i], loaded, err) < 0)
			return -1;
	}
	return 0;
}
