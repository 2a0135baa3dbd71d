/* Does what tests/conformance/README.md says. */
#include "../pipehost.h"

#include <ctype.h>
#include <inttypes.h>

enum mode { COMMANDS, COUNT, COUNT_BY_KEY, INPUTS };

static enum mode mode;
static ph_field key, value, verb, arg, extra;
static ph_port other;
static uint32_t left;
static int64_t long_number;
static uint64_t count;

/* What is counted by key. */
static struct {
    uint8_t *key;
    size_t len;
    uint64_t count;
} *counts;
static size_t keys;

static uint64_t *count_of(ph_bytes of) {
    for (size_t i = 0; i < keys; i++)
        if (counts[i].len == of.len && (of.len == 0 || memcmp(counts[i].key, of.data, of.len) == 0)) return &counts[i].count;
    counts = realloc(counts, (keys + 1) * sizeof *counts);
    counts[keys].key = malloc(of.len + 1);
    counts[keys].len = of.len;
    counts[keys].count = 0;
    if (of.len) memcpy(counts[keys].key, of.data, of.len);
    return &counts[keys++].count;
}

static ph_error open_stage(ph_config config, ph_setup *setup) {
    static char text[256];
    if (ph_config_text(config, "refuse", text, sizeof text)) return text;
    if (!ph_config_text(config, "mode", text, sizeof text)) strcpy(text, "commands");
    ph_config_int(config, "long_number", &long_number);
    if (strcmp(text, "count") == 0) {
        mode = COUNT;
    } else if (strcmp(text, "count-by-key") == 0) {
        mode = COUNT_BY_KEY;
        key = ph_key(setup);
        ph_keeps_by_key(setup, key);
    } else if (strcmp(text, "inputs") == 0) {
        mode = INPUTS;
        ph_keeps_nothing(setup);
        left = ph_add_input(setup, "left");
        ph_add_input(setup, "right");
    } else {
        mode = COMMANDS;
        ph_keeps_nothing(setup);
        ph_timestamp(setup);
        key = ph_key(setup);
        value = ph_value(setup);
        verb = ph_attribute(setup, "do");
        arg = ph_attribute(setup, "arg");
        extra = ph_attribute(setup, "extra");
        other = ph_add_port(setup, "other");
    }
    return NULL;
}

static void number(ph_row row, const char *attribute, int64_t n) {
    char text[32];
    int len = snprintf(text, sizeof text, "%" PRId64, n);
    if (attribute == NULL) ph_set_value(row, text, (size_t)len);
    else ph_set_attribute(row, attribute, text, (size_t)len);
}

static ph_error command(const ph_record *record, ph_out *out) {
    ph_bytes what = ph_get(record, verb), text = ph_get(record, arg), old = ph_get(record, value);
    if (what.data == NULL || ph_equals(what, "keep")) {
        ph_keep(out);
    } else if (ph_equals(what, "drop")) {
    } else if (ph_equals(what, "twice")) {
        ph_keep(out);
        ph_set_value(ph_keep(out), text.data, text.len);
    } else if (ph_equals(what, "echo")) {
        ph_row row = ph_keep(out);
        ph_bytes also = ph_get(record, extra);
        if (old.data != NULL) ph_set_value(row, old.data, old.len);
        if (also.data != NULL) ph_set_attribute(row, "extra", also.data, also.len);
    } else if (ph_equals(what, "upper")) {
        uint8_t *to = ph_value_room(ph_keep(out), old.len);
        for (size_t i = 0; i < old.len; i++) to[i] = (uint8_t)toupper(old.data[i]);
    } else if (ph_equals(what, "value")) {
        ph_set_value(ph_keep(out), text.data, text.len);
    } else if (ph_equals(what, "key")) {
        ph_set_key(ph_keep(out), text.data, text.len);
    } else if (ph_equals(what, "attribute")) {
        ph_set_attribute(ph_keep(out), "made", text.data, text.len);
    } else if (ph_equals(what, "remove")) {
        ph_remove_attribute(ph_keep(out), "extra");
    } else if (ph_equals(what, "time")) {
        char digits[32];
        snprintf(digits, sizeof digits, "%.*s", (int)text.len, (const char *)text.data);
        ph_set_time(ph_keep(out), strtoll(digits, NULL, 10));
    } else if (ph_equals(what, "later")) {
        ph_row row = ph_keep(out);
        if (ph_time(record) != PH_NO_TIME) ph_set_time(row, ph_time(record) + 1000000000);
    } else if (ph_equals(what, "tell-time")) {
        ph_row row = ph_keep(out);
        if (ph_time(record) == PH_NO_TIME) ph_set_value(row, "none", 4);
        else number(row, NULL, ph_time(record));
    } else if (ph_equals(what, "number")) {
        number(ph_keep(out), NULL, long_number);
    } else if (ph_equals(what, "other")) {
        ph_send(out, other);
    } else if (ph_equals(what, "both")) {
        ph_keep(out);
        ph_set_value(ph_send(out, other), text.data, text.len);
    } else if (ph_equals(what, "create")) {
        ph_set_value(ph_create(out), text.data, text.len);
    } else if (ph_equals(what, "create-other")) {
        ph_keep(out);
        ph_row row = ph_create_on(out, other);
        ph_set_key(row, text.data, text.len);
        ph_set_attribute(row, "made", text.data, text.len);
        ph_set_time(row, 1);
    } else {
        ph_error why = ph_errorf("%.*s", (int)text.len, (const char *)text.data);
        if (ph_equals(what, "keep-throw")) ph_set_value(ph_keep(out), "lost", 4);
        return ph_equals(what, "retry") ? ph_retryable(why) : why;
    }
    return NULL;
}

static ph_error process(const ph_record *record, ph_out *out) {
    switch (mode) {
    case COMMANDS: return command(record, out);
    case COUNT: number(ph_keep(out), "count", (int64_t)++count); break;
    case COUNT_BY_KEY: number(ph_keep(out), "count", (int64_t)++*count_of(ph_get(record, key))); break;
    case INPUTS: {
        bool is_left = ph_is_from(record, left);
        ph_set_attribute(ph_keep(out), "from", is_left ? "left" : "right", is_left ? 4 : 5);
    }
    }
    return NULL;
}

static ph_error finish(ph_out *out) {
    char text[64];
    if (mode != COUNT) return NULL;
    ph_set_value(ph_create(out), text, (size_t)snprintf(text, sizeof text, "%" PRIu64 " at the end", count));
    return NULL;
}

static ph_error advance(int64_t watermark, ph_out *out) {
    char text[64];
    if (mode != COUNT) return NULL;
    int len = snprintf(text, sizeof text, "%" PRIu64 " until %" PRId64, count, watermark);
    ph_set_value(ph_create(out), text, (size_t)len);
    count = 0;
    return NULL;
}

static ph_error save(ph_save *state) {
    if (mode == COUNT) ph_put(state, &count, sizeof count);
    for (size_t i = 0; i < keys; i++) {
        ph_bytes of = {counts[i].key, counts[i].len};
        ph_put_key(state, of, &counts[i].count, sizeof counts[i].count);
    }
    return NULL;
}

static ph_error restore(const ph_saved *saved) {
    ph_bytes whole = ph_got(saved), of, data;
    if (whole.len == sizeof count) memcpy(&count, whole.data, sizeof count);
    for (size_t at = 0; ph_next_key(saved, &at, &of, &data);) memcpy(count_of(of), data.data, sizeof count);
    return NULL;
}

static const ph_stage stage = {
    "conformance", "0.1.0", "Does what the conformance cases ask for",
    "{\"properties\": {\"mode\": {\"enum\": [\"commands\", \"count\", \"count-by-key\", \"inputs\"]},"
    " \"long_number\": {\"type\": \"integer\"}, \"refuse\": {\"type\": \"string\"}}}",
    open_stage, process, finish, save, restore, advance,
};
PH_EXPORT_TIMED(stage)
