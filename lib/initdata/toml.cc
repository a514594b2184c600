/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toml.cc - TOML text to the few members that initdata has
 *
 * toml++ parses; here its tree is read into C strings and let go. No exception leaves this file:
 * toml++ is built without them, and the only other source, memory running out, is caught.
 */
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_ENABLE_WINDOWS_COMPAT 0
#include <toml++/toml.h>

#include <new>
#include <string>
#include <string_view>

extern "C" {
#include "base/error.h"
}
#include "initdata/toml.h"

namespace {

/* Text of others in a message: one line of printable ASCII, cut short. */
std::string shown(std::string_view text)
{
	std::string out;
	for (char c : text.substr(0, 160))
		out += c >= ' ' && c < 127 ? c : '?';
	return text.size() > 160 ? out + "..." : out;
}

char *copy(const std::string &text)
{
	char *out = static_cast<char *>(malloc(text.size() + 1));
	if (!out)
		throw std::bad_alloc();
	text.copy(out, text.size());
	out[text.size()] = 0;
	return out;
}

int read_word(const toml::table &document, const char *key, char **out, struct error *err)
{
	const toml::node *node = document.get(key);
	if (!node)
		return error_set(err, ERROR_INVALID, "initdata: \"%s\" is missing", key);
	const toml::value<std::string> *text = node->as_string();
	if (!text || text->get().find('\0') != std::string::npos)
		return error_set(err, ERROR_INVALID, "initdata: \"%s\" must be a string", key);
	*out = copy(text->get());
	return 0;
}

int read_data(const toml::table &document, struct initdata *out, struct error *err)
{
	const toml::node *node = document.get("data");
	const toml::table *data = node ? node->as_table() : nullptr;
	if (!data)
		return error_set(err, ERROR_INVALID, "initdata: the table [data] is missing");
	out->entries = static_cast<struct initdata_entry *>(calloc(data->size() + 1, sizeof *out->entries));
	if (!out->entries)
		throw std::bad_alloc();
	for (auto &&[key, value] : *data) {
		if (key.str().find('\0') != std::string_view::npos)
			return error_set(err, ERROR_INVALID, "initdata: a key of [data] holds a NUL character");
		const toml::value<std::string> *text = value.as_string();
		if (!text)
			return error_set(err, ERROR_INVALID, "initdata: [data] \"%s\" must be a string",
				shown(key.str()).c_str());
		struct initdata_entry *entry = &out->entries[out->count++];
		entry->key = copy(std::string(key.str()));
		entry->value = copy(text->get());
		entry->len = text->get().size();
	}
	return 0;
}

} // namespace

extern "C" int initdata_parse_toml(
	const char *toml, size_t len, struct initdata *out, struct error *err)
{
	try {
		toml::parse_result result = toml::parse(std::string_view(toml, len));
		if (!result) {
			const toml::parse_error &why = result.error();
			return error_set(err, ERROR_INVALID, "initdata: line %u, column %u: %s",
				static_cast<unsigned>(why.source().begin.line),
				static_cast<unsigned>(why.source().begin.column),
				shown(why.description()).c_str());
		}
		const toml::table &document = result.table();
		if (read_word(document, "algorithm", &out->algorithm, err) < 0 ||
			read_word(document, "version", &out->version, err) < 0)
			return -1;
		return read_data(document, out, err);
	} catch (const std::bad_alloc &) {
		return error_set(err, ERROR_CAPACITY, "initdata: out of memory");
	}
}
