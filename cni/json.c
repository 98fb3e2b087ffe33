#include "json.h"

#include <string.h>

struct reader {
  const char *at;
  const char *end;
  int depth;
};

static const char *read_value(struct reader *reader);

static bool next_is(const struct reader *reader, char wanted)
{
  return reader->at < reader->end && *reader->at == wanted;
}

static bool take(struct reader *reader, char wanted)
{
  if (!next_is(reader, wanted)) return false;
  reader->at++;
  return true;
}

static void skip_space(struct reader *reader)
{
  while (next_is(reader, ' ') || next_is(reader, '\t') || next_is(reader, '\n') || next_is(reader, '\r')) reader->at++;
}

static bool take_digits(struct reader *reader)
{
  const char *first = reader->at;
  while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9') reader->at++;
  return reader->at > first;
}

static const char *read_number(struct reader *reader)
{
  take(reader, '-');
  if (!take(reader, '0') && !take_digits(reader)) return "a value is expected";
  if (take(reader, '.') && !take_digits(reader)) return "a number has no digit after its point";
  if (take(reader, 'e') || take(reader, 'E')) {
    if (!take(reader, '+')) take(reader, '-');
    if (!take_digits(reader)) return "a number has no digit in its exponent";
  }
  return NULL;
}

static const char *read_word(struct reader *reader, const char *word)
{
  size_t length = strlen(word);
  if ((size_t)(reader->end - reader->at) < length || memcmp(reader->at, word, length) != 0) return "a value is expected";
  reader->at += length;
  return NULL;
}

/* The four digits of an escape: -1 when they are not there. */
static int read_hex(struct reader *reader)
{
  int unit = 0;
  if (reader->end - reader->at < 4) return -1;
  for (int i = 0; i < 4; i++) {
    char digit = *reader->at++;
    if (digit >= '0' && digit <= '9') unit = unit * 16 + (digit - '0');
    else if (digit >= 'a' && digit <= 'f') unit = unit * 16 + (digit - 'a' + 10);
    else if (digit >= 'A' && digit <= 'F') unit = unit * 16 + (digit - 'A' + 10);
    else return -1;
  }
  return unit;
}

/* What follows a backslash: the character, or -1. Characters beyond the first plane come as two escapes (RFC 8259, section 7). */
static long read_escape(struct reader *reader)
{
  static const char short_forms[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
  if (reader->at == reader->end) return -1;
  char form = *reader->at++;
  if (form == 'u') {
    int unit = read_hex(reader);
    if (unit < 0xd800 || unit > 0xdfff) return unit;
    if (unit > 0xdbff || !take(reader, '\\') || !take(reader, 'u')) return -1;
    int low = read_hex(reader);
    return low < 0xdc00 || low > 0xdfff ? -1 : 0x10000 + ((unit - 0xd800L) << 10) + (low - 0xdc00);
  }
  for (size_t i = 0; i + 1 < sizeof short_forms; i += 2) if (short_forms[i] == form) return short_forms[i + 1];
  return -1;
}

/* One character of UTF-8 that is not ASCII, in its shortest form and no surrogate (RFC 3629). */
static bool take_utf8(struct reader *reader)
{
  const unsigned char *at = (const unsigned char *)reader->at;
  size_t left = (size_t)(reader->end - reader->at);
  size_t length = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
  if (at[0] < 0xc2 || at[0] > 0xf4 || left < length) return false;
  for (size_t i = 1; i < length; i++) if ((at[i] & 0xc0) != 0x80) return false;
  if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f)) return false;
  reader->at += length;
  return true;
}

static const char *read_string(struct reader *reader)
{
  if (!take(reader, '"')) return "a string is expected";
  while (reader->at < reader->end) {
    unsigned char next = (unsigned char)*reader->at;
    if (next < 0x20) return "a string has a control character in it";
    if (next >= 0x80) {
      if (!take_utf8(reader)) return "a string is not UTF-8";
      continue;
    }
    reader->at++;
    if (next == '"') return NULL;
    if (next == '\\' && read_escape(reader) < 0) return "a string has an escape that does not exist";
  }
  return "a string does not end";
}

static const char *read_members(struct reader *reader, char close, bool named)
{
  reader->at++;
  skip_space(reader);
  if (take(reader, close)) return NULL;
  do {
    const char *fault;
    skip_space(reader);
    if (named) {
      if ((fault = read_string(reader)) != NULL) return fault;
      skip_space(reader);
      if (!take(reader, ':')) return "a colon is expected";
      skip_space(reader);
    }
    if ((fault = read_value(reader)) != NULL) return fault;
    skip_space(reader);
  } while (take(reader, ','));
  return take(reader, close) ? NULL : "an object or array does not end";
}

static const char *read_value(struct reader *reader)
{
  if (reader->at == reader->end) return "it ends too soon";
  switch (*reader->at) {
    case '{':
    case '[': {
      if (++reader->depth > JSON_DEPTH_MAX) return "it is nested too deeply";
      const char *fault = *reader->at == '{' ? read_members(reader, '}', true) : read_members(reader, ']', false);
      reader->depth--;
      return fault;
    }
    case '"': return read_string(reader);
    case 't': return read_word(reader, "true");
    case 'f': return read_word(reader, "false");
    case 'n': return read_word(reader, "null");
    default: return read_number(reader);
  }
}

const char *json_read(const char *text, size_t length, struct json *value)
{
  struct reader reader = {text, text + length, 0};
  skip_space(&reader);
  const char *first = reader.at;
  const char *fault = read_value(&reader);
  if (fault != NULL) return fault;
  *value = (struct json){first, (size_t)(reader.at - first)};
  skip_space(&reader);
  return reader.at == reader.end ? NULL : "something follows the value";
}

/* The rest looks into text that has been checked. */

static const struct json NONE = {"", 0};

/* A reader that stands before the first member, or nowhere when `value` is not of this kind. */
static struct reader open_members(struct json value, char open)
{
  struct reader reader = {value.at, value.at + value.length, 0};
  if (value.length > 0 && take(&reader, open)) skip_space(&reader);
  else reader.end = reader.at;
  return reader;
}

static struct json member(struct reader *reader)
{
  struct json value = {reader->at, 0};
  read_value(reader);
  value.length = (size_t)(reader->at - value.at);
  skip_space(reader);
  return value;
}

static bool is_member_next(const struct reader *reader, char close)
{
  return reader->at < reader->end && !next_is(reader, close);
}

static void next_member(struct reader *reader)
{
  if (take(reader, ',')) skip_space(reader);
}

bool json_is_object(struct json value)
{
  return value.length > 0 && value.at[0] == '{';
}

struct json json_field(struct json value, const char *name)
{
  struct json found = NONE;
  struct reader reader = open_members(value, '{');
  for (; is_member_next(&reader, '}'); next_member(&reader)) {
    char key[64];
    bool is_wanted = json_string(member(&reader), key, sizeof key) && strcmp(key, name) == 0;
    take(&reader, ':');
    skip_space(&reader);
    struct json field = member(&reader);
    if (is_wanted) found = field;
  }
  return found;
}

struct json json_item(struct json value, size_t index)
{
  struct reader reader = open_members(value, '[');
  for (; is_member_next(&reader, ']'); next_member(&reader)) {
    struct json item = member(&reader);
    if (index-- == 0) return item;
  }
  return NONE;
}

static size_t encode_utf8(unsigned long character, char bytes[4])
{
  if (character < 0x80) return bytes[0] = (char)character, 1;
  size_t length = character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
  for (size_t i = length - 1; i > 0; i--, character >>= 6) bytes[i] = (char)(0x80 | (character & 0x3f));
  bytes[0] = (char)((0xf00 >> length & 0xff) | character);
  return length;
}

bool json_string(struct json value, char *to, size_t size)
{
  struct reader reader = {value.at, value.at + value.length, 0};
  size_t used = 0;
  if (value.length == 0 || !take(&reader, '"')) return false;
  while (!take(&reader, '"')) {
    char bytes[4] = {*reader.at};
    size_t length = 1;
    if (take(&reader, '\\')) {
      long character = read_escape(&reader);
      if (character <= 0) return false;
      length = encode_utf8((unsigned long)character, bytes);
    } else reader.at++;
    if (used + length >= size) return false;
    memcpy(to + used, bytes, length);
    used += length;
  }
  to[used] = '\0';
  return true;
}

bool json_count(struct json value, long most, long *to)
{
  long count = 0;
  if (value.length == 0) return false;
  for (size_t i = 0; i < value.length; i++) {
    if (value.at[i] < '0' || value.at[i] > '9') return false;
    count = count * 10 + (value.at[i] - '0');
    if (count > most) return false;
  }
  *to = count;
  return true;
}
