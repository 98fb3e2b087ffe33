/*
 * A strict reader of JSON (RFC 8259) that allocates nothing: a text is checked whole, once, and then looked into. A value is the piece of the
 * text where it stands, so that it can be passed on unchanged.
 */
#ifndef ORLOP_JSON_H
#define ORLOP_JSON_H

#include <stdbool.h>
#include <stddef.h>

/* Values within values. A network configuration has six levels or so. */
#define JSON_DEPTH_MAX 64

struct json {
  const char *at;
  size_t length; /* 0: there is no such value */
};

/* NULL when `text` is one value with nothing but space around it, which `value` then is; else what is wrong with it, in words. */
const char *json_read(const char *text, size_t length, struct json *value);

bool json_is_object(struct json value);

/* The field of an object; of several with this name the last, as the runtimes take it. None when `value` is no object or has no such field. */
struct json json_field(struct json value, const char *name);

/* The item of an array; none when `value` is no array, or has fewer. */
struct json json_item(struct json value, size_t index);

/* A string, decoded and terminated; false when `value` is none, when it does not fit, and when it has a NUL in it. */
bool json_string(struct json value, char *to, size_t size);

/* A whole number that is not negative; false when `value` is none, or is above `most`. */
bool json_count(struct json value, long most, long *to);

#endif
