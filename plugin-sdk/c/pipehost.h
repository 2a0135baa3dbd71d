/* pipehost.h: write a pipehost stage in C or C++. This one header is all of it.
 *
 *     #include "pipehost.h"
 *
 *     static ph_field level;
 *     static char wanted[64];
 *
 *     static ph_error open(ph_config config, ph_setup *setup) {
 *         if (!ph_config_text(config, "level", wanted, sizeof wanted)) return "`level` is too long";
 *         level = ph_attribute(setup, "level");
 *         ph_keeps_nothing(setup);
 *         return NULL;
 *     }
 *
 *     static ph_error process(const ph_record *record, ph_out *out) {
 *         if (ph_equals(ph_get(record, level), wanted)) ph_keep(out);
 *         return NULL;
 *     }
 *
 *     static const ph_stage stage = {
 *         "keep-level", "0.1.0", "Keeps the records of one level",
 *         "{\"properties\": {\"level\": {\"type\": \"string\", \"maxLength\": 63}}, \"required\": [\"level\"]}",
 *         open, process,
 *     };
 *     PH_EXPORT(stage)
 *
 * Build it with clang and wasi-libc; pipehost takes the module as it is:
 *
 *     clang --target=wasm32-wasi --sysroot=/usr -O2 -mexec-model=reactor -o stage.wasm stage.c
 *
 * A stage says in `open` what it reads. It sees one record at a time, and emits it with `ph_keep`, as often
 * as it likes; a record that is not kept is dropped. What it does not change is inherited, and never leaves the
 * host. An error that `process` returns rejects the record. Strings and bytes that a stage is given are valid
 * until the call ends; what it gives to the functions below is copied, unless they say otherwise.
 *
 * Without WebAssembly, `ph_test_*` run the same stage in a unit test. The contract that this header implements is
 * the package `pipehost:stage@0.2.0`, in its canonical ABI for wasm32.
 */
#ifndef PIPEHOST_H
#define PIPEHOST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Stands for "no time". */
#define PH_NO_TIME INT64_MIN

/* NULL, or what went wrong: for the person who reads it. It must outlive the call: a literal, or a static
 * buffer; `ph_errorf` has one. */
typedef const char *ph_error;

/* Bytes that somebody else owns. `data` is NULL if there is no value, which is not an empty one. */
typedef struct {
    const uint8_t *data;
    size_t len;
} ph_bytes;

/* A column that the stage reads. */
typedef int32_t ph_field;
/* An output of the stage; 0 is the default one, `out`. */
typedef uint32_t ph_port;
/* The configuration, a JSON object. */
typedef ph_bytes ph_config;

typedef struct ph_setup ph_setup;
typedef struct ph_record ph_record;
typedef struct ph_out ph_out;
typedef struct ph_save ph_save;
typedef struct ph_saved ph_saved;

/* A record that is emitted. It is valid until the next one is. */
typedef struct {
    struct ph__rows *rows;
    size_t index;
} ph_row;

/* A stage: what it is called, and its functions. The last four may be left out. */
typedef struct {
    const char *name;
    const char *version;
    /* One line: what it does to records. */
    const char *summary;
    /* The JSON Schema of its configuration. `type` and `additionalProperties: false` are added. */
    const char *schema;
    /* Takes the configuration, and says what the stage reads. */
    ph_error (*open)(ph_config config, ph_setup *setup);
    /* Processes one record. An error rejects it. */
    ph_error (*process)(const ph_record *record, ph_out *out);
    /* After the last record: emits what the stage still holds, with `ph_create`. */
    ph_error (*finish)(ph_out *out);
    /* Saves the state; changes nothing. The stage is exported with PH_EXPORT_STATEFUL. */
    ph_error (*save)(ph_save *save);
    /* Takes over a state, after `open`. */
    ph_error (*restore)(const ph_saved *saved);
    /* All records before the watermark, in nanoseconds since 1970, have come. PH_EXPORT_TIMED. */
    ph_error (*advance)(int64_t watermark, ph_out *out);
} ph_stage;

/* ---- what a stage uses in `open` -------------------------------------------------------------- */

/* Reads the value. */
static ph_field ph_value(ph_setup *setup);
/* Reads the key. */
static ph_field ph_key(ph_setup *setup);
/* Reads the times of the records: see `ph_time`. */
static void ph_timestamp(ph_setup *setup);
/* Reads the attribute of this name, which a record may have or not. The name is not copied. */
static ph_field ph_attribute(ph_setup *setup, const char *name);
/* Adds a port beside the default one. The name is not copied. */
static ph_port ph_add_port(ph_setup *setup, const char *name);
/* Names one more input that the stage tells apart: the pipeline then gives it as many, in this order. */
static uint32_t ph_add_input(ph_setup *setup, const char *name);
/* What it does with a record depends on this record alone: it runs on as many cores as there are. */
static void ph_keeps_nothing(ph_setup *setup);
/* What it keeps belongs to one value of this column: instances share the keys. */
static void ph_keeps_by_key(ph_setup *setup, ph_field field);

/* A member of the configuration as a text that ends with 0. False if it is missing, is no text, or does not
 * fit. */
static bool ph_config_text(ph_config config, const char *name, char *to, size_t size);
/* A whole number. False if it is missing, is none, or does not fit. */
static bool ph_config_int(ph_config config, const char *name, int64_t *to);
/* A number. False if it is missing or is none. */
static bool ph_config_number(ph_config config, const char *name, double *to);
/* True or false. False is returned if it is missing or is neither. */
static bool ph_config_bool(ph_config config, const char *name, bool *to);
/* The JSON text of a member; `data` is NULL if it is missing. */
static ph_bytes ph_config_json(ph_config config, const char *name);

/* ---- what a stage uses in `process` ----------------------------------------------------------- */

/* The bytes of a column in this record. */
static inline ph_bytes ph_get(const ph_record *record, ph_field field);
/* Nanoseconds since 1970, or PH_NO_TIME. */
static inline int64_t ph_time(const ph_record *record);
/* Whether the record came by this input. */
static inline bool ph_is_from(const ph_record *record, uint32_t input);

/* Emits the current record on the default port. */
static inline ph_row ph_keep(ph_out *out);
/* The same on another port. */
static inline ph_row ph_send(ph_out *out, ph_port port);
/* Emits a new record, which inherits nothing. */
static ph_row ph_create(ph_out *out);
static ph_row ph_create_on(ph_out *out, ph_port port);

static inline void ph_set_value(ph_row row, const void *data, size_t len);
static inline void ph_set_key(ph_row row, const void *data, size_t len);
static void ph_set_attribute(ph_row row, const char *name, const void *data, size_t len);
/* Room for a value of this length, which the stage writes before it does anything else. */
static inline uint8_t *ph_value_room(ph_row row, size_t len);
static void ph_remove_attribute(ph_row row, const char *name);
/* Nanoseconds since 1970; PH_NO_TIME takes the time away. */
static void ph_set_time(ph_row row, int64_t nanoseconds);

/* The error that rejects a record which may succeed later. */
static ph_error ph_retryable(ph_error error);
/* A message as printf makes it; cut at 1,000 bytes, and valid until the next one. */
static ph_error ph_errorf(const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 1, 2)))
#endif
    ;

static inline bool ph_equals(ph_bytes bytes, const char *text) {
    /* Two calls of the C library would take longer than the comparison of a short text. */
    if (bytes.data == NULL) return false;
    for (size_t i = 0; i < bytes.len; i++)
        if (text[i] == 0 || bytes.data[i] != (uint8_t)text[i]) return false;
    return text[bytes.len] == 0;
}

/* ---- metrics of the stage's own ---------------------------------------------------------------- */

typedef struct {
    const char *name, *value;
} ph_label;

/* Adds to a counter, sets a gauge, adds a value to a histogram. The host shows them as `stage_NAME`. What a call
 * tells counts once, with the answer that is accepted. In a unit test, they do nothing. */
static void ph_metric_add(const char *name, const ph_label *labels, size_t len, double by);
static void ph_metric_set(const char *name, const ph_label *labels, size_t len, double to);
static void ph_metric_observe(const char *name, const ph_label *labels, size_t len, double value);

/* ---- what a stage uses in `save` and `restore` ------------------------------------------------- */

/* Saves the state of a stage. One that keeps by key: what is the same in all its instances. */
static void ph_put(ph_save *save, const void *data, size_t len);
/* Saves what belongs to one key. */
static void ph_put_key(ph_save *save, ph_bytes key, const void *data, size_t len);
/* What was put; `data` is NULL if nothing was. */
static ph_bytes ph_got(const ph_saved *saved);
/* The keys, one after the other, from `*at`, which begins as 0. False if there are no more. */
static bool ph_next_key(const ph_saved *saved, size_t *at, ph_bytes *key, ph_bytes *data);
/* The version of the stage that saved it. */
static ph_bytes ph_saved_version(const ph_saved *saved);
/* The configuration that it had. A state of another configuration is refused before `restore` is called,
 * unless the stage is exported with PH_ACCEPT_CONFIG. */
static ph_bytes ph_saved_config(const ph_saved *saved);

/* =================================== how it is done ============================================ */

#include <stdarg.h>

#if defined(__GNUC__)
#define PH__UNUSED __attribute__((unused))
#define PH__COLD __attribute__((unused, cold, noinline))
#define PH__INLINE __attribute__((unused, always_inline)) inline
#else
#define PH__UNUSED
#define PH__COLD
#define PH__INLINE inline
#endif

enum { PH__KEY = -1, PH__VALUE = -2 };
enum { PH__ANYTHING, PH__NOTHING, PH__BY_KEY };

static void *ph__grown(void *old, size_t *room, size_t want, size_t each) {
    size_t more = *room ? 2 * *room : 64;
    while (more < want) more *= 2;
    void *grown = more > SIZE_MAX / each ? NULL : realloc(old, more * each);
    if (grown == NULL) {
        fputs("out of memory\n", stderr);
        abort();
    }
    *room = more;
    return grown;
}

/* A list that grows, and keeps its room from call to call. */
#define PH__LIST(type)                                                                                       \
    struct {                                                                                                 \
        type *at;                                                                                            \
        size_t len, room;                                                                                    \
    }
#ifdef __cplusplus
#define PH__TYPED(list) *(void **)&(list).at
#else
#define PH__TYPED(list) (list).at
#endif
#define PH__ROOM(list, want)                                                                                 \
    do {                                                                                                     \
        if ((list).room < (want)) PH__TYPED(list) = ph__grown((list).at, &(list).room, (want), sizeof *(list).at); \
    } while (0)
#define PH__PUSH(list, item)                                                                                 \
    do {                                                                                                     \
        PH__ROOM(list, (list).len + 1);                                                                      \
        (list).at[(list).len++] = (item);                                                                    \
    } while (0)

typedef PH__LIST(uint32_t) ph__numbers;
typedef PH__LIST(const char *) ph__names;

struct ph_setup {
    bool timestamps, key, value;
    ph__names attributes, ports, inputs;
    uint8_t keeps;
    ph_field by;
};

/* A column of a batch. */
typedef struct {
    const uint32_t *ends;
    const uint8_t *data;
    /* One byte a row, if any is null. */
    uint8_t *null;
} ph__column;

struct ph_record {
    size_t row;
    uint32_t input;
    const int64_t *times;
    ph__column key, value;
    PH__LIST(ph__column) attributes;
};

/* A column that some rows change. */
typedef struct {
    const char *name;
    PH__LIST(uint32_t) ends;
    PH__LIST(uint8_t) data;
    ph__numbers nulls, inherited;
    bool is_set;
} ph__changed;

/* The rows of one output. */
struct ph__rows {
    ph__numbers parents;
    ph__changed key, value;
    PH__LIST(ph__changed) attributes;
    PH__LIST(int64_t) times;
    ph__numbers inherited_times;
    bool times_set;
};
typedef struct ph__rows ph__rows;

typedef struct {
    uint32_t row;
    char *reason;
    bool retryable;
} ph__rejection;

struct ph_out {
    uint32_t row;
    bool has_batch;
    /* Of each port: the rows that descend from a record, and the new ones. */
    PH__LIST(ph__rows) ports;
    PH__LIST(ph__rows) created;
    PH__LIST(ph__rejection) rejected;
};

static const ph_stage *ph__stage;
static ph_setup ph__setup;
static ph_record ph__record;
static ph_out ph__out;
static bool ph__is_retryable;
static char ph__message[1001];

PH__UNUSED static uint32_t ph__name(ph__names *names, const char *name) {
    for (size_t i = 0; i < names->len; i++)
        if (strcmp(names->at[i], name) == 0) return (uint32_t)i;
    PH__PUSH(*names, name);
    return (uint32_t)(names->len - 1);
}

PH__UNUSED static ph_field ph_value(ph_setup *setup) {
    setup->value = true;
    return PH__VALUE;
}
PH__UNUSED static ph_field ph_key(ph_setup *setup) {
    setup->key = true;
    return PH__KEY;
}
PH__UNUSED static void ph_timestamp(ph_setup *setup) { setup->timestamps = true; }
PH__UNUSED static ph_field ph_attribute(ph_setup *setup, const char *name) {
    return (ph_field)ph__name(&setup->attributes, name);
}
PH__UNUSED static ph_port ph_add_port(ph_setup *setup, const char *name) { return ph__name(&setup->ports, name); }
PH__UNUSED static uint32_t ph_add_input(ph_setup *setup, const char *name) { return ph__name(&setup->inputs, name); }
PH__UNUSED static void ph_keeps_nothing(ph_setup *setup) { setup->keeps = PH__NOTHING; }
PH__UNUSED static void ph_keeps_by_key(ph_setup *setup, ph_field field) {
    setup->keeps = PH__BY_KEY;
    setup->by = field;
}

static inline ph_bytes ph__cell(const ph__column *column, size_t row) {
    ph_bytes bytes = {NULL, 0};
    if (column->ends == NULL || (column->null != NULL && column->null[row])) return bytes;
    uint32_t start = row ? column->ends[row - 1] : 0;
    bytes.data = column->data + start;
    bytes.len = column->ends[row] - start;
    return bytes;
}
PH__UNUSED static inline ph_bytes ph_get(const ph_record *record, ph_field field) {
    const ph__column *column = field >= 0           ? &record->attributes.at[field]
                               : field == PH__VALUE ? &record->value
                                                    : &record->key;
    return ph__cell(column, record->row);
}
PH__UNUSED static inline int64_t ph_time(const ph_record *record) {
    return record->times ? record->times[record->row] : PH_NO_TIME;
}
PH__UNUSED static inline bool ph_is_from(const ph_record *record, uint32_t input) { return record->input == input; }

static inline ph_row ph__emit(ph__rows *rows, uint32_t parent) {
    PH__PUSH(rows->parents, parent);
    ph_row row = {rows, rows->parents.len - 1};
    return row;
}
PH__UNUSED static inline ph_row ph_send(ph_out *out, ph_port port) { return ph__emit(&out->ports.at[port], out->row); }
PH__UNUSED static inline ph_row ph_keep(ph_out *out) { return ph_send(out, 0); }
PH__UNUSED static ph_row ph_create_on(ph_out *out, ph_port port) {
    return ph__emit(&out->created.at[port], out->row);
}
PH__UNUSED static ph_row ph_create(ph_out *out) { return ph_create_on(out, 0); }

/* Rows before `index` that were not set are inherited. */
static inline void ph__catch_up(ph__changed *column, size_t index) {
    column->is_set = true;
    while (column->ends.len < index) {
        PH__PUSH(column->inherited, (uint32_t)column->ends.len);
        PH__PUSH(column->ends, (uint32_t)column->data.len);
    }
}
static void ph__pop_from(ph__numbers *rows, size_t index) {
    while (rows->len && rows->at[rows->len - 1] >= index) rows->len--;
}
static void ph__truncate(ph__changed *column, size_t len) {
    if (column->ends.len <= len) return;
    column->ends.len = len;
    column->data.len = len ? column->ends.at[len - 1] : 0;
    ph__pop_from(&column->nulls, len);
    ph__pop_from(&column->inherited, len);
}
static inline uint8_t *ph__room(ph__changed *column, size_t index, size_t len) {
    if (column->ends.len != index) {
        if (column->ends.len > index) ph__truncate(column, index);
        else ph__catch_up(column, index);
    }
    column->is_set = true;
    size_t from = column->data.len;
    if (len > UINT32_MAX - from) {
        fputs("the values of one column have more than 4 GiB\n", stderr);
        abort();
    }
    PH__ROOM(column->data, from + len + 1);
    column->data.len = from + len;
    PH__PUSH(column->ends, (uint32_t)column->data.len);
    return column->data.at + from;
}
static inline void ph__set(ph__changed *column, size_t index, const void *data, size_t len) {
    uint8_t *to = ph__room(column, index, len);
    if (len) memcpy(to, data, len);
}
static void ph__set_null(ph__changed *column, size_t index) {
    ph__set(column, index, NULL, 0);
    PH__PUSH(column->nulls, (uint32_t)index);
}
static ph__changed *ph__attribute(ph__rows *rows, const char *name) {
    for (size_t i = 0; i < rows->attributes.len; i++)
        if (strcmp(rows->attributes.at[i].name, name) == 0) return &rows->attributes.at[i];
    ph__changed column;
    memset(&column, 0, sizeof column);
    char *copy = (char *)malloc(strlen(name) + 1);
    if (copy == NULL) abort();
    column.name = strcpy(copy, name);
    PH__PUSH(rows->attributes, column);
    return &rows->attributes.at[rows->attributes.len - 1];
}
PH__UNUSED static inline void ph_set_value(ph_row row, const void *data, size_t len) {
    ph__set(&row.rows->value, row.index, data, len);
}
PH__UNUSED static inline uint8_t *ph_value_room(ph_row row, size_t len) {
    return ph__room(&row.rows->value, row.index, len);
}
PH__UNUSED static inline void ph_set_key(ph_row row, const void *data, size_t len) {
    ph__set(&row.rows->key, row.index, data, len);
}
PH__UNUSED static void ph_set_attribute(ph_row row, const char *name, const void *data, size_t len) {
    ph__set(ph__attribute(row.rows, name), row.index, data, len);
}
PH__UNUSED static void ph_remove_attribute(ph_row row, const char *name) {
    ph__set_null(ph__attribute(row.rows, name), row.index);
}
static void ph__catch_up_times(ph__rows *rows, size_t index) {
    rows->times_set = true;
    while (rows->times.len < index) {
        PH__PUSH(rows->inherited_times, (uint32_t)rows->times.len);
        PH__PUSH(rows->times, PH_NO_TIME);
    }
}
PH__UNUSED static void ph_set_time(ph_row row, int64_t nanoseconds) {
    ph__catch_up_times(row.rows, row.index);
    row.rows->times.len = row.index;
    PH__PUSH(row.rows->times, nanoseconds);
}

PH__UNUSED static ph_error ph_retryable(ph_error error) {
    ph__is_retryable = true;
    return error;
}
PH__UNUSED static ph_error ph_errorf(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(ph__message, sizeof ph__message, format, arguments);
    va_end(arguments);
    return ph__message;
}

/* ---- the configuration ------------------------------------------------------------------------ */

typedef struct {
    const uint8_t *at, *end;
} ph__json;

static void ph__skip_space(ph__json *json) {
    while (json->at < json->end && (*json->at == ' ' || (*json->at >= '\t' && *json->at <= '\r'))) json->at++;
}
/* Passes a text, which begins at its quote. */
static void ph__skip_text(ph__json *json) {
    for (json->at++; json->at < json->end && *json->at != '"'; json->at++)
        if (*json->at == '\\') json->at++;
    json->at = json->at < json->end ? json->at + 1 : json->end;
}
static void ph__skip_value(ph__json *json) {
    size_t depth = 0;
    do {
        ph__skip_space(json);
        if (json->at >= json->end) return;
        uint8_t c = *json->at;
        if (c == '"') {
            ph__skip_text(json);
        } else if (c == '{' || c == '[') {
            depth++;
            json->at++;
        } else if (c == '}' || c == ']') {
            depth--;
            json->at++;
        } else if (c == ',' || c == ':') {
            json->at++;
        } else {
            while (json->at < json->end && strchr(",:]} \t\r\n", *json->at) == NULL) json->at++;
        }
    } while (depth);
}
static int ph__hex(const uint8_t *at) {
    int n = 0;
    for (int i = 0; i < 4; i++) {
        int c = at[i] | 32;
        n = 16 * n + (c <= '9' ? at[i] - '0' : c - 'a' + 10);
    }
    return n;
}
/* Writes a JSON text as UTF-8. Returns its length, or SIZE_MAX if it does not fit. */
static size_t ph__text(ph_bytes json, char *to, size_t size) {
    size_t len = 0;
    const uint8_t *at = json.data + 1, *end = json.data + json.len - 1;
    while (at < end) {
        uint32_t c = *at++;
        if (c == '\\' && at < end) {
            c = *at++;
            const char *escapes = "b\bf\fn\nr\rt\t", *found = strchr(escapes, (int)c);
            if (found != NULL && (found - escapes) % 2 == 0) c = (uint8_t)found[1];
            if (found == NULL && c == 'u' && end - at >= 4) {
                c = (uint32_t)ph__hex(at);
                at += 4;
                if (c >= 0xD800 && c < 0xDC00 && end - at >= 6) {
                    c = 0x10000 + ((c - 0xD800) << 10) + ((uint32_t)ph__hex(at + 2) - 0xDC00);
                    at += 6;
                }
                uint8_t bytes[4];
                size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
                static const uint8_t first[] = {0, 0, 0xC0, 0xE0, 0xF0};
                for (size_t i = n; i-- > 1; c >>= 6) bytes[i] = (uint8_t)(0x80 | (c & 0x3F));
                bytes[0] = (uint8_t)(first[n] | c);
                if (size - len <= n) return SIZE_MAX;
                memcpy(to + len, bytes, n);
                len += n;
                continue;
            }
        }
        if (size - len <= 1) return SIZE_MAX;
        to[len++] = (char)c;
    }
    to[len] = 0;
    return len;
}
PH__UNUSED static ph_bytes ph_config_json(ph_config config, const char *name) {
    ph_bytes none = {NULL, 0};
    ph__json json = {config.data, config.data + config.len};
    char found[256];
    ph__skip_space(&json);
    if (json.at >= json.end || *json.at != '{') return none;
    json.at++;
    for (;;) {
        ph__skip_space(&json);
        if (json.at >= json.end || *json.at == '}') return none;
        if (*json.at == ',') {
            json.at++;
            continue;
        }
        ph_bytes key = {json.at, 0};
        ph__skip_value(&json);
        key.len = (size_t)(json.at - key.data);
        ph__skip_space(&json);
        if (json.at < json.end) json.at++; /* the colon */
        ph__skip_space(&json);
        ph_bytes value = {json.at, 0};
        ph__skip_value(&json);
        value.len = (size_t)(json.at - value.data);
        if (key.len >= 2 && ph__text(key, found, sizeof found) != SIZE_MAX && strcmp(found, name) == 0) return value;
    }
}
PH__UNUSED static bool ph_config_text(ph_config config, const char *name, char *to, size_t size) {
    ph_bytes json = ph_config_json(config, name);
    if (size == 0 || json.len < 2 || *json.data != '"') return false;
    char *text = (char *)malloc(json.len); /* What it stands for is no longer than how it is written. */
    if (text == NULL) abort();
    size_t len = ph__text(json, text, json.len);
    bool fits = len < size; /* So SIZE_MAX does not. */
    if (fits) memcpy(to, text, len + 1);
    free(text);
    return fits;
}
PH__UNUSED static bool ph_config_number(ph_config config, const char *name, double *to) {
    ph_bytes json = ph_config_json(config, name);
    char text[64], *end;
    if (json.len == 0 || json.len >= sizeof text) return false;
    memcpy(text, json.data, json.len);
    text[json.len] = 0;
    double number = strtod(text, &end);
    if (end == text || *end != 0) return false;
    *to = number;
    return true;
}
PH__UNUSED static bool ph_config_int(ph_config config, const char *name, int64_t *to) {
    ph_bytes json = ph_config_json(config, name);
    bool negative = json.len && *json.data == '-';
    uint64_t n = 0, most = (uint64_t)INT64_MAX + negative;
    /* In JSON Schema, 5.0 is an integer too. */
    size_t zeros = json.len;
    while (zeros > 0 && json.data[zeros - 1] == '0') zeros--;
    if (zeros > 0 && json.data[zeros - 1] == '.') json.len = zeros - 1;
    if (json.len <= negative) return false;
    for (size_t i = negative; i < json.len; i++) {
        uint64_t digit = (uint64_t)(json.data[i] - '0');
        if (digit > 9 || n > (most - digit) / 10) return false;
        n = 10 * n + digit;
    }
    *to = negative ? (int64_t)(0 - n) : (int64_t)n;
    return true;
}
PH__UNUSED static bool ph_config_bool(ph_config config, const char *name, bool *to) {
    ph_bytes json = ph_config_json(config, name);
    bool is_true = ph_equals(json, "true");
    if (!is_true && !ph_equals(json, "false")) return false;
    *to = is_true;
    return true;
}

/* ---- batches ------------------------------------------------------------------------------------ */

static void ph__clear(ph__changed *column) {
    column->ends.len = column->data.len = column->nulls.len = column->inherited.len = 0;
    column->is_set = false;
}
static void ph__clear_rows(ph__rows *rows) {
    rows->parents.len = rows->times.len = rows->inherited_times.len = 0;
    rows->times_set = false;
    ph__clear(&rows->key);
    ph__clear(&rows->value);
    for (size_t i = 0; i < rows->attributes.len; i++) ph__clear(&rows->attributes.at[i]);
}
static void ph__begin(bool has_batch) {
    ph_out *out = &ph__out;
    size_t ports = ph__setup.ports.len;
    ph__rows none;
    memset(&none, 0, sizeof none);
    while (out->ports.len < ports) PH__PUSH(out->ports, none);
    while (out->created.len < ports) PH__PUSH(out->created, none);
    for (size_t i = 0; i < ports; i++) {
        ph__clear_rows(&out->ports.at[i]);
        ph__clear_rows(&out->created.at[i]);
    }
    for (size_t i = 0; i < out->rejected.len; i++) free(out->rejected.at[i].reason);
    out->rejected.len = 0;
    out->row = 0;
    out->has_batch = has_batch;
}
static void ph__take_back(ph__rows *rows, uint32_t row) {
    size_t len = rows->parents.len;
    while (len && rows->parents.at[len - 1] == row) len--;
    rows->parents.len = len;
    ph__truncate(&rows->key, len);
    ph__truncate(&rows->value, len);
    for (size_t i = 0; i < rows->attributes.len; i++) ph__truncate(&rows->attributes.at[i], len);
    if (rows->times.len > len) {
        rows->times.len = len;
        ph__pop_from(&rows->inherited_times, len);
    }
}
/* How many bytes of UTF-8 the text begins with that are one character; 0 if they are none. */
static size_t ph__character(const uint8_t *at) {
    uint8_t c = at[0];
    size_t len = c < 0x80 ? 1 : c < 0xC2 ? 0 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 0;
    for (size_t i = 1; i < len; i++)
        if ((at[i] & 0xC0) != 0x80) return 0;
    bool is_long = (c == 0xE0 && at[1] < 0xA0) || (c == 0xF0 && at[1] < 0x90);
    bool is_none = (c == 0xED && at[1] > 0x9F) || (c == 0xF4 && at[1] > 0x8F);
    return is_long || is_none ? 0 : len;
}
/* Copies a text to a place with room for three times its length and its end. A reason may hold the bytes of a record:
 * what is not UTF-8 becomes U+FFFD. */
static char *ph__copy_utf8(char *to, const char *text) {
    const uint8_t *at = (const uint8_t *)text;
    char *end = to;
    while (*at) {
        size_t len = ph__character(at);
        memcpy(end, len ? (const char *)at : "\xEF\xBF\xBD", len ? len : 3);
        end += len ? len : 3;
        at += len ? len : 1;
    }
    *end = 0;
    return to;
}
PH__COLD static void ph__reject(ph_error why) {
    ph_out *out = &ph__out;
    for (size_t i = 0; i < out->ports.len; i++) {
        ph__take_back(&out->ports.at[i], out->row);
        ph__take_back(&out->created.at[i], out->row);
    }
    ph__rejection rejection = {out->row, (char *)malloc(3 * strlen(why) + 1), ph__is_retryable};
    if (rejection.reason == NULL) abort();
    ph__copy_utf8(rejection.reason, why);
    PH__PUSH(out->rejected, rejection);
}
/* Processes the rows of the batch in `ph__record`. Inline, so that where the stage is known, its function is called
 * directly. */
static PH__INLINE void ph__process(const ph_stage *stage, size_t rows) {
    ph__begin(true);
    PH__ROOM(ph__out.ports.at[0].parents, rows);
    for (size_t row = 0; row < rows; row++) {
        ph__record.row = row;
        ph__out.row = (uint32_t)row;
        ph__is_retryable = false;
        ph_error why = stage->process(&ph__record, &ph__out);
        if (why != NULL) ph__reject(why);
    }
}
static ph_error ph__open(const ph_stage *stage, ph_config config) {
    ph__stage = stage;
    memset(&ph__setup, 0, sizeof ph__setup);
    PH__PUSH(ph__setup.ports, "out");
    ph__column none;
    memset(&none, 0, sizeof none);
    ph_error why = stage->open(config, &ph__setup);
    ph__record.attributes.len = 0;
    for (size_t i = 0; i < ph__setup.attributes.len; i++) PH__PUSH(ph__record.attributes, none);
    return why;
}
/* Columns end where their rows end; what was not set is inherited. */
static void ph__end_column(ph__changed *column, size_t rows) {
    if (column->is_set) ph__catch_up(column, rows);
}
static void ph__end_rows(ph__rows *rows) {
    size_t len = rows->parents.len;
    ph__end_column(&rows->key, len);
    ph__end_column(&rows->value, len);
    for (size_t i = 0; i < rows->attributes.len; i++) ph__end_column(&rows->attributes.at[i], len);
    if (rows->times_set) ph__catch_up_times(rows, len);
}

/* ---- state -------------------------------------------------------------------------------------- */

typedef PH__LIST(uint8_t) ph__buffer;

struct ph_save {
    uint32_t first, end, count;
    ph__buffer whole;
    /* The entries of each group that is held. */
    PH__LIST(ph__buffer) groups;
};
/* A group that was saved: the length of what is whole, a u32 in little-endian; this; entries, each with the lengths of
 * its key and its data before them. */
struct ph_saved {
    PH__LIST(ph_bytes) groups;
    ph_bytes version, config;
};

static void ph__append(ph__buffer *buffer, const void *data, size_t len) {
    PH__ROOM(*buffer, buffer->len + len + 1);
    if (len) memcpy(buffer->at + buffer->len, data, len);
    buffer->len += len;
}
static void ph__append_length(ph__buffer *buffer, size_t len) {
    uint8_t bytes[4] = {(uint8_t)len, (uint8_t)(len >> 8), (uint8_t)(len >> 16), (uint8_t)(len >> 24)};
    ph__append(buffer, bytes, 4);
}
/* A length, and what has it; `data` is NULL if the bytes end before. */
static ph_bytes ph__take(ph_bytes *from) {
    ph_bytes taken = {NULL, 0};
    if (from->len < 4) return taken;
    const uint8_t *p = from->data;
    size_t len = p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
    if (from->len - 4 < len) return taken;
    taken.data = p + 4;
    taken.len = len;
    from->data += 4 + len;
    from->len -= 4 + len;
    return taken;
}
/* CRC-32 as gzip has it, RFC 1952. */
static uint32_t ph__crc32(const uint8_t *data, size_t len) {
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1)));
    }
    return ~crc;
}
PH__UNUSED static void ph_put(ph_save *save, const void *data, size_t len) {
    save->whole.len = 0;
    ph__append(&save->whole, data, len);
}
PH__UNUSED static void ph_put_key(ph_save *save, ph_bytes key, const void *data, size_t len) {
    uint32_t group = ph__crc32(key.data, key.len) % (save->count ? save->count : 1);
    if (group < save->first || group >= save->end) {
        fputs("state is saved for a key that is not one of the records of this instance: save it under the bytes of "
              "the field of ph_keeps_by_key\n",
              stderr);
        abort();
    }
    ph__buffer *buffer = &save->groups.at[group - save->first];
    ph__append_length(buffer, key.len);
    ph__append(buffer, key.data, key.len);
    ph__append_length(buffer, len);
    ph__append(buffer, data, len);
}
PH__UNUSED static ph_bytes ph_got(const ph_saved *saved) {
    ph_bytes none = {NULL, 0};
    if (saved->groups.len == 0) return none;
    ph_bytes last = saved->groups.at[saved->groups.len - 1];
    return ph__take(&last);
}
PH__UNUSED static bool ph_next_key(const ph_saved *saved, size_t *at, ph_bytes *key, ph_bytes *data) {
    size_t position = 0;
    for (size_t i = 0; i < saved->groups.len; i++) {
        ph_bytes rest = saved->groups.at[i];
        ph__take(&rest);
        if (position + rest.len <= *at) {
            position += rest.len;
            continue;
        }
        size_t skipped = *at - position;
        ph_bytes entry = {rest.data + skipped, rest.len - skipped};
        size_t before = entry.len;
        *key = ph__take(&entry);
        *data = ph__take(&entry);
        *at += before - entry.len;
        return data->data != NULL;
    }
    return false;
}
PH__UNUSED static ph_bytes ph_saved_version(const ph_saved *saved) { return saved->version; }
PH__UNUSED static ph_bytes ph_saved_config(const ph_saved *saved) { return saved->config; }

/* Fills `save`; returns what went wrong. */
PH__UNUSED static ph_error ph__save(ph_save *save, uint32_t first, uint32_t end, uint32_t count) {
    save->first = first;
    save->end = end;
    save->count = count;
    save->whole.len = 0;
    ph__buffer none;
    memset(&none, 0, sizeof none);
    while (save->groups.len < end - first) PH__PUSH(save->groups, none);
    for (size_t i = 0; i < save->groups.len; i++) save->groups.at[i].len = 0;
    return ph__stage->save(save);
}
/* The bytes of one group; none if the stage saved nothing for it. */
PH__UNUSED static bool ph__group(const ph_save *save, uint32_t group, ph__buffer *to) {
    const ph__buffer *entries = &save->groups.at[group - save->first];
    to->len = 0;
    if (save->whole.len == 0 && entries->len == 0) return false;
    ph__append_length(to, save->whole.len);
    ph__append(to, save->whole.at, save->whole.len);
    ph__append(to, entries->at, entries->len);
    return true;
}
static ph__buffer ph__opened_with;
static bool ph__accepts_config;

static bool ph__same_json(ph_bytes a, ph_bytes b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}
/* Adds the members of `a` that differ in `b` to the message. */
static size_t ph__differences(ph_config a, ph_config b, size_t len, bool only_missing) {
    ph__json json = {a.data, a.data + a.len};
    char name[256];
    if (a.len) json.at++;
    while (json.at < json.end) {
        ph__skip_space(&json);
        if (json.at >= json.end || *json.at == '}') break;
        if (*json.at == ',') {
            json.at++;
            continue;
        }
        ph_bytes key = {json.at, 0};
        ph__skip_value(&json);
        key.len = (size_t)(json.at - key.data);
        ph__skip_space(&json);
        json.at++;
        ph__skip_space(&json);
        ph_bytes value = {json.at, 0};
        ph__skip_value(&json);
        value.len = (size_t)(json.at - value.data);
        if (ph__text(key, name, sizeof name) == SIZE_MAX) continue;
        ph_bytes other = ph_config_json(b, name);
        if (only_missing ? other.data != NULL : ph__same_json(value, other)) continue;
        int more = snprintf(ph__message + len, sizeof ph__message - len, "%s`%s`", len ? ", " : "", name);
        len = (size_t)more < sizeof ph__message - len ? len + (size_t)more : sizeof ph__message - 1;
    }
    return len;
}
PH__UNUSED static ph_error ph__restore(const ph_saved *saved) {
    static char refusal[1200];
    ph_config now = {ph__opened_with.at, ph__opened_with.len};
    if (!ph__accepts_config) {
        size_t len = ph__differences(saved->config, now, 0, false);
        if (ph__differences(now, saved->config, len, true)) {
            snprintf(refusal, sizeof refusal, "it was made with another configuration; what differs: %s", ph__message);
            return refusal;
        }
    }
    for (size_t i = 0; i < saved->groups.len; i++) {
        ph_bytes rest = saved->groups.at[i];
        if (ph__take(&rest).data == NULL) return "it was saved in another format";
        while (rest.len)
            if (ph__take(&rest).data == NULL) return "it was saved in another format";
    }
    return ph__stage->restore(saved);
}
PH__UNUSED static void ph__keep_config(ph_config config) {
    ph__opened_with.len = 0;
    ph__append(&ph__opened_with, config.data, config.len);
}

/* ---- the contract, for wasm32 ------------------------------------------------------------------ */

#ifdef __wasm__

/* What the host writes for a call, and what is answered, lies here, and is free once the answer was read. */
static struct {
    uint8_t *at;
    size_t used, room;
    PH__LIST(void *) full;
} ph__arena;

PH__UNUSED static void *ph__alloc(size_t size) {
    size_t from = (ph__arena.used + 7) & ~(size_t)7;
    if (ph__arena.at == NULL || from + size > ph__arena.room) {
        if (ph__arena.at != NULL) PH__PUSH(ph__arena.full, ph__arena.at);
        size_t room = 2 * ph__arena.room;
        ph__arena.room = room > size + 65536 ? room : size + 65536;
        ph__arena.at = (uint8_t *)malloc(ph__arena.room);
        if (ph__arena.at == NULL) {
            fputs("out of memory\n", stderr);
            abort();
        }
        from = 0;
    }
    ph__arena.used = from + size;
    return ph__arena.at + from;
}
PH__UNUSED static void *ph__zeroed(size_t size) { return memset(ph__alloc(size), 0, size); }
PH__UNUSED static void ph__release(void) {
    for (size_t i = 0; i < ph__arena.full.len; i++) free(ph__arena.full.at[i]);
    ph__arena.full.len = ph__arena.used = 0;
}
__attribute__((export_name("cabi_realloc"))) void *ph__cabi_realloc(void *old, size_t old_size, size_t align,
                                                                   size_t size) {
    (void)align;
    void *to = ph__alloc(size);
    if (old_size) memcpy(to, old, old_size < size ? old_size : size);
    return to;
}

typedef struct {
    const void *at;
    uint32_t len;
} ph__list;
typedef struct {
    uint32_t tag;
    ph__list list;
} ph__some_list;
typedef struct {
    uint32_t is_some;
    ph__list ends, data;
    ph__some_list nulls;
} ph__given;
typedef struct {
    uint32_t len;
    ph__some_list times;
    ph__given key, value;
    struct {
        const ph__given *at;
        uint32_t len;
    } attributes;
    uint32_t input;
} ph__batch;
typedef struct {
    ph__list ends, data, nulls, inherited;
} ph__change;
typedef struct {
    ph__list name;
    ph__change change;
} ph__attribute_change;
typedef struct {
    uint32_t is_some;
    ph__change change;
} ph__some_change;
typedef struct {
    uint32_t port;
    uint32_t rows;
    ph__list picked;
    struct {
        uint32_t is_some;
        ph__list times, inherited;
    } times;
    ph__some_change key, value;
    ph__list attributes, removed, excerpts;
} ph__output;
typedef struct {
    uint32_t row;
    ph__list reason;
    uint32_t retryable;
} ph__answered_rejection;
typedef struct {
    uint32_t is_error;
    ph__list outputs, rejected;
} ph__answer;
#ifdef __cplusplus
static_assert(sizeof(ph__batch) == 92 && sizeof(ph__output) == 132 && sizeof(ph__answer) == 20, "the canonical ABI");
#else
_Static_assert(sizeof(ph__batch) == 92 && sizeof(ph__output) == 132 && sizeof(ph__answer) == 20, "the canonical ABI");
#endif

enum { PH__ALL, PH__PICKED, PH__FRESH };

/* The rows without a value, as a byte a row. */
static uint8_t *ph__null_bytes(const uint32_t *nulls, size_t count, size_t rows, uint8_t *old) {
    uint8_t *null = (uint8_t *)realloc(old, rows ? rows : 1);
    if (null == NULL) abort();
    memset(null, 0, rows);
    for (size_t i = 0; i < count; i++) null[nulls[i]] = 1;
    return null;
}

static ph__list ph__words(const char *text) {
    ph__list list = {text, (uint32_t)strlen(text)};
    return list;
}
/* An error is copied, as its buffer may be used again. */
static void ph__put_error(uint32_t *at, ph_error why) {
    char *copy = (char *)ph__alloc(3 * strlen(why) + 1);
    at[0] = 1;
    *(ph__list *)(at + 1) = ph__words(ph__copy_utf8(copy, why));
}
static ph__list ph__names_list(const ph__names *names) {
    ph__list *items = (ph__list *)ph__alloc(sizeof(ph__list) * names->len);
    for (size_t i = 0; i < names->len; i++) items[i] = ph__words(names->at[i]);
    ph__list list = {items, (uint32_t)names->len};
    return list;
}
static void ph__load(ph__column *column, const ph__given *given, size_t rows) {
    uint8_t *null = column->null;
    memset(column, 0, sizeof *column);
    if (given->is_some & 0xFF) {
        column->ends = (const uint32_t *)given->ends.at;
        column->data = (const uint8_t *)given->data.at;
        if (given->nulls.tag & 0xFF) {
            column->null = ph__null_bytes((const uint32_t *)given->nulls.list.at, given->nulls.list.len, rows, null);
            return;
        }
    }
    free(null);
}
static void ph__put_change(ph__change *to, const ph__changed *column, bool fresh) {
    to->ends.at = column->ends.at;
    to->ends.len = (uint32_t)column->ends.len;
    to->data.at = column->data.at;
    to->data.len = (uint32_t)column->data.len;
    to->nulls.at = column->nulls.at;
    to->nulls.len = (uint32_t)column->nulls.len;
    to->inherited.at = column->inherited.at;
    to->inherited.len = (uint32_t)column->inherited.len;
    if (fresh && column->inherited.len) { /* New rows inherit nothing: they have no value. */
        size_t most = column->nulls.len + column->inherited.len, n = 0, m = 0, len = 0;
        uint32_t *rows = (uint32_t *)ph__alloc(4 * most);
        while (len < most) {
            bool null = n < column->nulls.len &&
                        (m >= column->inherited.len || column->nulls.at[n] < column->inherited.at[m]);
            rows[len++] = null ? column->nulls.at[n++] : column->inherited.at[m++];
        }
        to->nulls.at = rows;
        to->nulls.len = (uint32_t)len;
        to->inherited.at = NULL;
        to->inherited.len = 0;
    }
}
static void ph__put_output(ph__output *to, ph__rows *rows, uint32_t port, bool fresh, size_t given) {
    size_t len = rows->parents.len, same = 0;
    memset(to, 0, sizeof *to);
    ph__end_rows(rows);
    to->port = port;
    if (fresh) {
        to->rows = PH__FRESH;
        *(uint32_t *)&to->picked = (uint32_t)len;
    } else {
        while (len == given && same < len && rows->parents.at[same] == same) same++;
        to->rows = same == given && len == given ? PH__ALL : PH__PICKED;
        if (to->rows == PH__PICKED) {
            to->picked.at = rows->parents.at;
            to->picked.len = (uint32_t)len;
        }
    }
    if (rows->times_set) {
        to->times.is_some = 1;
        to->times.times.at = rows->times.at;
        to->times.times.len = (uint32_t)rows->times.len;
        to->times.inherited.at = rows->inherited_times.at;
        to->times.inherited.len = fresh ? 0 : (uint32_t)rows->inherited_times.len;
    }
    if (rows->key.is_set) {
        to->key.is_some = 1;
        ph__put_change(&to->key.change, &rows->key, fresh);
    }
    if (rows->value.is_set) {
        to->value.is_some = 1;
        ph__put_change(&to->value.change, &rows->value, fresh);
    }
    ph__attribute_change *changes =
        (ph__attribute_change *)ph__alloc(sizeof(ph__attribute_change) * rows->attributes.len);
    to->attributes.at = changes;
    for (size_t i = 0; i < rows->attributes.len; i++) {
        const ph__changed *column = &rows->attributes.at[i];
        if (!column->is_set) continue;
        ph__attribute_change *change = &changes[to->attributes.len++];
        change->name = ph__words(column->name);
        ph__put_change(&change->change, column, fresh);
    }
}
static void *ph__answered(size_t given, ph_error why) {
    ph_out *out = &ph__out;
    ph__answer *answer = (ph__answer *)ph__zeroed(sizeof *answer);
    if (why != NULL) {
        ph__put_error((uint32_t *)answer, why);
        return answer;
    }
    ph__output *outputs = (ph__output *)ph__alloc(sizeof(ph__output) * 2 * out->ports.len);
    answer->outputs.at = outputs;
    for (int fresh = 0; fresh < 2; fresh++)
        for (size_t port = 0; port < ph__setup.ports.len; port++) {
            ph__rows *rows = fresh ? &out->created.at[port] : &out->ports.at[port];
            if (rows->parents.len == 0) continue;
            ph__put_output(&outputs[answer->outputs.len++], rows, (uint32_t)port, fresh || !out->has_batch, given);
        }
    ph__answered_rejection *rejected =
        (ph__answered_rejection *)ph__alloc(sizeof(ph__answered_rejection) * out->rejected.len);
    answer->rejected.at = rejected;
    answer->rejected.len = (uint32_t)out->rejected.len;
    for (size_t i = 0; i < out->rejected.len; i++) {
        rejected[i].row = out->rejected.at[i].row;
        rejected[i].reason = ph__words(out->rejected.at[i].reason);
        rejected[i].retryable = out->rejected.at[i].retryable;
    }
    return answer;
}
PH__UNUSED static void *ph__describe(const ph_stage *stage) {
    static const char type[] = "{\"type\": \"object\", \"additionalProperties\": false";
    const char *members = strchr(stage->schema, '{');
    members = members == NULL ? "}" : members + 1;
    bool none = members[strspn(members, " \t\r\n")] == '}';
    char *schema = (char *)ph__alloc(sizeof type + 2 + strlen(members));
    sprintf(schema, "%s%s%s", type, none ? "" : ", ", members);
    ph__list *description = (ph__list *)ph__alloc(4 * sizeof(ph__list));
    description[0] = ph__words(stage->name);
    description[1] = ph__words(stage->version);
    description[2] = ph__words(stage->summary);
    description[3] = ph__words(schema);
    return description;
}
PH__UNUSED static void *ph__call_open(const ph_stage *stage, const uint8_t *config, size_t len) {
    ph_config given = {config, len};
    ph__keep_config(given);
    ph_error why = ph__open(stage, given);
    uint32_t *plan = (uint32_t *)ph__zeroed(48);
    if (why != NULL) {
        ph__put_error(plan, why);
        return plan;
    }
    uint8_t *reads = (uint8_t *)(plan + 1);
    reads[0] = ph__setup.timestamps;
    reads[1] = ph__setup.key;
    reads[2] = ph__setup.value;
    *(ph__list *)(plan + 2) = ph__names_list(&ph__setup.attributes);
    *(ph__list *)(plan + 4) = ph__names_list(&ph__setup.ports);
    *(ph__list *)(plan + 6) = ph__names_list(&ph__setup.inputs);
    plan[8] = ph__setup.keeps;
    if (ph__setup.keeps == PH__BY_KEY) {
        ph_field by = ph__setup.by;
        plan[9] = by == PH__KEY ? 0 : by == PH__VALUE ? 1 : 2;
        if (by >= 0) *(ph__list *)(plan + 10) = ph__words(ph__setup.attributes.at[by]);
    }
    return plan;
}
static PH__INLINE void *ph__call_process(const ph_stage *stage, const ph__batch *batch) {
    size_t rows = batch->len;
    ph__record.input = batch->input;
    ph__record.times = (batch->times.tag & 0xFF) ? (const int64_t *)batch->times.list.at : NULL;
    ph__load(&ph__record.key, &batch->key, rows);
    ph__load(&ph__record.value, &batch->value, rows);
    for (size_t i = 0; i < ph__record.attributes.len; i++)
        ph__load(&ph__record.attributes.at[i], &batch->attributes.at[i], rows);
    ph__process(stage, rows);
    return ph__answered(rows, NULL);
}
PH__UNUSED static void *ph__call_finish(void) {
    ph__begin(false);
    return ph__answered(0, ph__stage->finish == NULL ? NULL : ph__stage->finish(&ph__out));
}
PH__UNUSED static void *ph__call_advance(int64_t watermark) {
    ph__begin(false);
    return ph__answered(0, ph__stage->advance(watermark, &ph__out));
}
PH__UNUSED static void *ph__call_save(uint32_t first, uint32_t end, uint32_t count) {
    static ph_save save;
    static ph__buffer bytes;
    uint32_t *answer = (uint32_t *)ph__zeroed(12), len = 0;
    ph_error why = ph__save(&save, first, end, count);
    if (why != NULL) {
        ph__put_error(answer, why);
        return answer;
    }
    uint32_t *groups = (uint32_t *)ph__alloc(12 * (end - first));
    for (uint32_t group = first; group < end; group++) {
        if (!ph__group(&save, group, &bytes)) continue;
        uint32_t *to = groups + 3 * len++;
        to[0] = group;
        to[1] = (uint32_t)(uintptr_t)memcpy(ph__alloc(bytes.len), bytes.at, bytes.len);
        to[2] = (uint32_t)bytes.len;
    }
    answer[1] = (uint32_t)(uintptr_t)groups;
    answer[2] = len;
    return answer;
}
PH__UNUSED static void *ph__call_restore(const uint32_t *groups, uint32_t len, const uint8_t *version,
                                         size_t version_len, const uint8_t *config, size_t config_len) {
    static ph_saved saved;
    saved.groups.len = 0;
    for (uint32_t i = 0; i < len; i++) {
        ph_bytes group = {(const uint8_t *)(uintptr_t)groups[3 * i + 1], groups[3 * i + 2]};
        PH__PUSH(saved.groups, group);
    }
    ph_bytes by = {version, version_len}, with = {config, config_len};
    saved.version = by;
    saved.config = with;
    uint32_t *answer = (uint32_t *)ph__zeroed(12);
    ph_error why = ph__restore(&saved);
    if (why != NULL) ph__put_error(answer, why);
    return answer;
}

typedef struct {
    ph__list name, value;
} ph__label;
#define PH__METRIC(function)                                                                                      \
    __attribute__((import_module("pipehost:stage/metrics@0.2.0"), import_name(#function))) extern void             \
        ph__metric_##function(const char *name, size_t name_len, const ph__label *labels, size_t len, double value); \
    PH__UNUSED static void ph_metric_##function(const char *name, const ph_label *labels, size_t len, double value) { \
        ph__label *given = (ph__label *)ph__alloc(sizeof(ph__label) * len);                                        \
        for (size_t i = 0; i < len; i++) {                                                                         \
            given[i].name = ph__words(labels[i].name);                                                             \
            given[i].value = ph__words(labels[i].value);                                                           \
        }                                                                                                          \
        ph__metric_##function(name, strlen(name), given, len, value);                                              \
    }
PH__METRIC(add)
PH__METRIC(set)
PH__METRIC(observe)

#ifdef __cplusplus
#define PH__EXTERN extern "C"
#else
#define PH__EXTERN
#endif
#define PH__FUNCTION(interface, function, c_name, parameters, call)                                             \
    PH__EXTERN __attribute__((export_name("pipehost:stage/" interface "@0.2.0#" function))) void *c_name parameters { \
        return call;                                                                                               \
    }                                                                                                              \
    PH__EXTERN __attribute__((export_name("cabi_post_pipehost:stage/" interface "@0.2.0#" function))) void          \
        c_name##_post(void *answer) {                                                                              \
        (void)answer;                                                                                              \
        ph__release();                                                                                             \
    }
#define PH_EXPORT(stage)                                                                                           \
    PH__FUNCTION("stage", "describe", ph__x_describe, (void), ph__describe(&stage))                                \
    PH__FUNCTION("stage", "open", ph__x_open, (const uint8_t *config, size_t len), ph__call_open(&stage, config, len)) \
    PH__FUNCTION("stage", "process", ph__x_process, (const ph__batch *batch), ph__call_process(&stage, batch))     \
    PH__FUNCTION("stage", "finish", ph__x_finish, (void), ph__call_finish())
#define PH_EXPORT_STATEFUL(stage)                                                                                  \
    PH_EXPORT(stage)                                                                                               \
    PH__FUNCTION("checkpoint", "save", ph__x_save, (uint32_t first, uint32_t end, uint32_t count),                 \
                 ph__call_save(first, end, count))                                                                 \
    PH__FUNCTION("checkpoint", "restore", ph__x_restore,                                                           \
                 (const uint32_t *groups, uint32_t len, const uint8_t *version, size_t version_len,                \
                  const uint8_t *config, size_t config_len),                                                       \
                 ph__call_restore(groups, len, version, version_len, config, config_len))
#define PH_EXPORT_TIMED(stage)                                                                                     \
    PH_EXPORT_STATEFUL(stage)                                                                                      \
    PH__FUNCTION("watermark", "advance", ph__x_advance, (int64_t watermark), ph__call_advance(watermark))

#else /* ---- unit tests, without WebAssembly ------------------------------------------------------- */

#define PH__METRIC(function)                                                                                      \
    PH__UNUSED static void ph_metric_##function(const char *name, const ph_label *labels, size_t len, double value) { \
        (void)name, (void)labels, (void)len, (void)value;                                                          \
    }
PH__METRIC(add)
PH__METRIC(set)
PH__METRIC(observe)

#define PH_EXPORT(stage) PH__UNUSED static const ph_stage *ph__exported = &stage;
#define PH_EXPORT_STATEFUL(stage) PH_EXPORT(stage)
#define PH_EXPORT_TIMED(stage) PH_EXPORT(stage)

/* A record of a test. Texts that are NULL are absent; `attributes` are names and values in turn. */
typedef struct {
    const char *value, *key;
    /* Nanoseconds since 1970; 0 stands for no time. */
    int64_t time;
    const char *attributes[16];
} ph_test_record;

static const ph_test_record *ph__test_records;
static size_t ph__test_len;

/* Opens a stage; NULL, or why it refuses the configuration. */
PH__UNUSED static ph_error ph_test_open(const ph_stage *stage, const char *config) {
    ph_config given = {(const uint8_t *)config, strlen(config)};
    ph__keep_config(given);
    return ph__open(stage, given);
}
static const char *ph__test_cell(const ph_test_record *record, const char *name) {
    if (strcmp(name, "value") == 0) return record->value;
    if (strcmp(name, "key") == 0) return record->key;
    for (size_t i = 0; i + 1 < 16 && record->attributes[i] != NULL; i += 2)
        if (strcmp(record->attributes[i], name) == 0) return record->attributes[i + 1];
    return NULL;
}
static void ph__test_column(ph__column *column, const char *name) {
    size_t rows = ph__test_len, len = 0;
    uint32_t *ends = (uint32_t *)malloc(4 * (rows + 1));
    for (size_t i = 0; i < rows; i++) {
        const char *cell = ph__test_cell(&ph__test_records[i], name);
        len += cell == NULL ? 0 : strlen(cell);
    }
    uint8_t *data = (uint8_t *)malloc(len + 1), *null = (uint8_t *)calloc(rows + 1, 1);
    if (ends == NULL || data == NULL || null == NULL) abort();
    len = 0;
    for (size_t i = 0; i < rows; i++) {
        const char *cell = ph__test_cell(&ph__test_records[i], name);
        null[i] = cell == NULL;
        if (cell != NULL) {
            memcpy(data + len, cell, strlen(cell));
            len += strlen(cell);
        }
        ends[i] = (uint32_t)len;
    }
    free((void *)column->ends);
    free((void *)column->data);
    free(column->null);
    column->ends = ends;
    column->data = data;
    column->null = null;
}
/* Processes these records as one batch. They must stay as they are while the answer is looked at. */
PH__UNUSED static void ph_test_process(const ph_test_record *records, size_t len) {
    static int64_t *times;
    static size_t room;
    ph__test_records = records;
    ph__test_len = len;
    ph__test_column(&ph__record.key, "key");
    ph__test_column(&ph__record.value, "value");
    for (size_t i = 0; i < ph__setup.attributes.len; i++)
        ph__test_column(&ph__record.attributes.at[i], ph__setup.attributes.at[i]);
    if (room < len) times = (int64_t *)ph__grown(times, &room, len, sizeof *times);
    for (size_t i = 0; i < len; i++) times[i] = records[i].time == 0 ? PH_NO_TIME : records[i].time;
    ph__record.times = times;
    ph__process(ph__stage, len);
}
/* Finishes the stage. */
PH__UNUSED static ph_error ph_test_finish(void) {
    ph__begin(false);
    return ph__stage->finish == NULL ? NULL : ph__stage->finish(&ph__out);
}
PH__UNUSED static ph_error ph_test_advance(int64_t watermark) {
    ph__begin(false);
    return ph__stage->advance(watermark, &ph__out);
}
/* Saves the state, opens the stage again, and restores it. */
PH__UNUSED static ph_error ph_test_restart(const char *config) {
    static ph_save save;
    static ph_saved saved;
    ph__buffer with = {NULL, 0, 0};
    uint32_t count = ph__setup.keeps == PH__BY_KEY ? 4 : 1;
    ph_error why = ph__save(&save, 0, count, count);
    if (why != NULL) return why;
    saved.groups.len = 0;
    for (uint32_t group = 0; group < count; group++) {
        ph__buffer bytes = {NULL, 0, 0};
        if (!ph__group(&save, group, &bytes)) continue;
        ph_bytes given = {bytes.at, bytes.len};
        PH__PUSH(saved.groups, given);
    }
    ph__append(&with, ph__opened_with.at, ph__opened_with.len);
    saved.config.data = with.at;
    saved.config.len = with.len;
    saved.version.data = (const uint8_t *)ph__stage->version;
    saved.version.len = strlen(ph__stage->version);
    why = ph_test_open(ph__stage, config);
    return why != NULL ? why : ph__restore(&saved);
}
static ph__rows *ph__test_rows(const char *port, size_t *row) {
    for (size_t i = 0; i < ph__setup.ports.len; i++) {
        if (strcmp(ph__setup.ports.at[i], port) != 0) continue;
        ph__rows *rows = &ph__out.ports.at[i];
        if (*row < rows->parents.len) return rows;
        *row -= rows->parents.len;
        return *row < ph__out.created.at[i].parents.len ? &ph__out.created.at[i] : NULL;
    }
    return NULL;
}
/* How many records went to a port: those that were kept, and behind them the new ones. */
PH__UNUSED static size_t ph_test_len(const char *port) {
    size_t len = 0, row = 0;
    for (; ph__test_rows(port, &row) != NULL; row = len) len++;
    return len;
}
/* A part of such a record: "value", "key" or an attribute. NULL if it has none. It is valid for eight more calls. */
PH__UNUSED static const char *ph_test_get(const char *port, size_t row, const char *name) {
    static char *texts[8];
    static size_t next;
    ph__rows *rows = ph__test_rows(port, &row);
    if (rows == NULL) return NULL;
    ph__changed *column = strcmp(name, "value") == 0 ? &rows->value : strcmp(name, "key") == 0 ? &rows->key : NULL;
    if (column == NULL) {
        for (size_t i = 0; i < rows->attributes.len; i++)
            if (strcmp(rows->attributes.at[i].name, name) == 0) column = &rows->attributes.at[i];
    }
    ph__end_rows(rows);
    bool inherited = column == NULL || !column->is_set;
    if (!inherited) {
        for (size_t i = 0; i < column->inherited.len; i++) inherited |= column->inherited.at[i] == row;
        for (size_t i = 0; i < column->nulls.len; i++)
            if (column->nulls.at[i] == row) return NULL;
    }
    bool is_new = !ph__out.has_batch || (rows >= ph__out.created.at && rows < ph__out.created.at + ph__out.created.len);
    if (inherited) return is_new ? NULL : ph__test_cell(&ph__test_records[rows->parents.at[row]], name);
    size_t start = row ? column->ends.at[row - 1] : 0, len = column->ends.at[row] - start;
    char *text = (char *)malloc(len + 1);
    if (text == NULL) abort();
    memcpy(text, column->data.at + start, len);
    text[len] = 0;
    free(texts[next % 8]);
    return texts[next++ % 8] = text;
}
/* How many records were rejected, and why. */
PH__UNUSED static size_t ph_test_rejected(void) { return ph__out.rejected.len; }
PH__UNUSED static const char *ph_test_reason(size_t i) {
    return i < ph__out.rejected.len ? ph__out.rejected.at[i].reason : NULL;
}

#endif

/* A state is also restored if the configuration is another one: `restore` says whether it fits. */
#define PH_ACCEPT_CONFIG() (ph__accepts_config = true)

#ifdef __cplusplus
}
#endif

#endif
