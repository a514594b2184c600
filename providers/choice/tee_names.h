/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tee_names.h - what protects a VM's memory, in words: ["snp", "tdx"] in files, "snp" on a command line
 */
#ifndef PEERPOD_PROVIDERS_TEE_NAMES_H
#define PEERPOD_PROVIDERS_TEE_NAMES_H

#include "base/json.h"
#include "providers/choice/choice.h"

/* "snp", "tdx" or "sev" of len bytes: its bit; 0: none of them. */
unsigned tee_of_name(const char *text, size_t len);

/* Appends "snp, tdx"; nothing where there is none. */
void tees_print(unsigned tees, struct buf *out);

/* A new array of names. NULL: no memory. */
json_t *tees_to_json(unsigned tees);

/* From an array of names under this key; a missing one leaves *tees as it was. */
int tees_from_json(const json_t *object, const char *name, const char *key, unsigned *tees,
	struct error *err);

#endif
