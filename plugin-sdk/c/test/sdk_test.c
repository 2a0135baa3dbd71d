/* Unit tests of pipehost.h, without WebAssembly. */
#undef NDEBUG
#include <assert.h>

#include "../pipehost.h"

static ph_field value, key, level;
static ph_port other;
static char mode[32];
static int64_t limit;
static uint64_t seen;

static ph_error open_stage(ph_config config, ph_setup *setup) {
    if (!ph_config_text(config, "mode", mode, sizeof mode)) return "`mode` is missing or too long";
    ph_config_int(config, "limit", &limit);
    value = ph_value(setup);
    key = ph_key(setup);
    level = ph_attribute(setup, "level");
    assert(ph_attribute(setup, "level") == level);
    other = ph_add_port(setup, "other");
    ph_timestamp(setup);
    return NULL;
}
static ph_error process(const ph_record *record, ph_out *out) {
    ph_bytes text = ph_get(record, value), found = ph_get(record, level);
    seen++;
    if (ph_equals(text, "reject")) {
        ph_set_value(ph_keep(out), "lost", 4);
        ph_set_attribute(ph_create(out), "lost", "lost", 4);
        return ph_errorf("number %d", 7);
    }
    if (ph_equals(text, "retry")) return ph_retryable("later");
    if (ph_equals(text, "drop")) return NULL;
    if (ph_equals(text, "retry, but keep")) {
        ph_retryable("busy");
        ph_keep(out);
        return NULL;
    }
    if (text.len && text.data[0] == '<') return ph_errorf("bad: %.*s", (int)text.len, (const char *)text.data);
    ph_row row = ph_keep(out);
    if (ph_equals(text, "twice")) ph_set_value(ph_keep(out), "again", 5);
    if (ph_equals(text, "other")) ph_set_key(ph_send(out, other), "k", 1);
    if (ph_equals(text, "new")) ph_set_value(ph_create(out), "made", 4);
    if (ph_equals(text, "set again")) {
        ph_set_value(row, "first", 5);
        ph_set_value(row, "second", 6);
    }
    if (found.data != NULL && found.len == 0) ph_remove_attribute(row, "level");
    if (found.len) ph_set_attribute(row, "was", found.data, found.len);
    return NULL;
}
static ph_error finish(ph_out *out) {
    char text[32];
    ph_set_value(ph_create(out), text, (size_t)snprintf(text, sizeof text, "%d", (int)seen));
    return NULL;
}
static ph_error save(ph_save *state) {
    ph_bytes of = {(const uint8_t *)"one key", 7};
    ph_put(state, &seen, sizeof seen);
    ph_put_key(state, of, "its state", 9);
    return NULL;
}
static ph_error restore(const ph_saved *saved) {
    ph_bytes whole = ph_got(saved), of, data;
    size_t at = 0, keys = 0;
    memcpy(&seen, whole.data, sizeof seen);
    while (ph_next_key(saved, &at, &of, &data)) {
        assert(of.len == 7 && memcmp(of.data, "one key", 7) == 0 && data.len == 9);
        keys++;
    }
    assert(keys == 1 && ph_equals(ph_saved_version(saved), "1"));
    return NULL;
}
static ph_error advance(int64_t watermark, ph_out *out) {
    ph_set_time(ph_create(out), watermark);
    return NULL;
}
static const ph_stage stage = {"test", "1", "", "{}", open_stage, process, finish, save, restore, advance};

static void text(const char *port, size_t row, const char *name, const char *wanted) {
    const char *found = ph_test_get(port, row, name);
    if (wanted == NULL ? found != NULL : found == NULL || strcmp(found, wanted) != 0) {
        printf("%s[%d].%s is %s and not %s\n", port, (int)row, name, found ? found : "absent", wanted ? wanted : "absent");
        exit(1);
    }
}

int main(void) {
    char small[4];
    ph_config config = {(const uint8_t *)"{ \"a\": [1, {\"b\": \"}\"}], \"t\": \"\\u00e4\\ud83d\\ude00\\n\\\"\", \"n\": -9223372036854775808,"
                        "\"big\": 9223372036854775808, \"f\": 1.5, \"yes\": true, \"\\u0062\": null}", 0};
    config.len = strlen((const char *)config.data);
    char read[32];
    int64_t n;
    double f;
    bool yes;
    assert(ph_config_text(config, "t", read, sizeof read) && strcmp(read, "\xc3\xa4\xf0\x9f\x98\x80\n\"") == 0);
    assert(!ph_config_text(config, "t", small, sizeof small) && !ph_config_text(config, "n", read, sizeof read));
    assert(ph_config_int(config, "n", &n) && n == INT64_MIN);
    assert(!ph_config_int(config, "big", &n) && !ph_config_int(config, "f", &n) && !ph_config_int(config, "x", &n));
    assert(ph_config_number(config, "f", &f) && f == 1.5);
    assert(ph_config_bool(config, "yes", &yes) && yes && !ph_config_bool(config, "f", &yes));
    assert(ph_equals(ph_config_json(config, "a"), "[1, {\"b\": \"}\"}]") && ph_equals(ph_config_json(config, "b"), "null"));
    /* 5.0 is an integer of the schema. What is not there, or not of the type, changes nothing. */
    ph_config more = {(const uint8_t *)"{\"n\": -50.00, \"dot\": 5., \"zero\": 0.0, \"t\": \"much too long\"}", 0};
    more.len = strlen((const char *)more.data);
    assert(ph_config_int(more, "n", &n) && n == -50 && ph_config_int(more, "zero", &n) && n == 0);
    yes = true;
    f = 0.5;
    strcpy(small, "old");
    assert(!ph_config_bool(more, "yes", &yes) && yes && !ph_config_number(more, "t", &f) && f == 0.5);
    assert(!ph_config_text(more, "t", small, sizeof small) && strcmp(small, "old") == 0);
    ph_config none = {(const uint8_t *)"", 0}, open_only = {(const uint8_t *)"{\"a\"", 4};
    assert(ph_config_json(none, "a").data == NULL);
    ph_config_json(open_only, "b");

    assert(strcmp(ph_test_open(&stage, "{}"), "`mode` is missing or too long") == 0);
    assert(ph_test_open(&stage, "{\"mode\": \"x\", \"limit\": 3}") == NULL && limit == 3);
    ph_test_record records[8] = {
        {"kept", NULL, 0, {"level", "ERROR"}}, {"reject", NULL, 0, {NULL}}, {"twice", "key", 5, {NULL}}, {"retry", NULL, 0, {NULL}},
        {"drop", NULL, 0, {NULL}}, {"other", NULL, 0, {"level", ""}}, {"new", NULL, 0, {NULL}}, {"set again", NULL, 0, {NULL}},
    };
    ph_test_process(records, 8);
    assert(ph_test_len("out") == 7 && ph_test_len("other") == 1 && ph_test_len("none") == 0);
    text("out", 0, "value", "kept");
    text("out", 0, "was", "ERROR");
    text("out", 1, "value", "twice");
    text("out", 1, "was", NULL);
    text("out", 2, "value", "again");
    text("out", 2, "key", "key");
    text("out", 3, "level", NULL);
    text("out", 5, "value", "second");
    text("out", 6, "value", "made");
    text("out", 6, "lost", NULL);
    text("other", 0, "key", "k");
    assert(ph_test_rejected() == 2);
    assert(strcmp(ph_test_reason(0), "number 7") == 0 && strcmp(ph_test_reason(1), "later") == 0);
    assert(ph__out.rejected.at[1].retryable && !ph__out.rejected.at[0].retryable);

    /* A flag is for one record. Reasons are UTF-8, also where they are cut. */
    char long_text[1200] = "<";
    for (size_t i = 1; i + 2 < sizeof long_text; i += 2) strcpy(long_text + i, "\xc3\xa4");
    ph_test_record later[5] = {{"retry, but keep", NULL, 0, {NULL}}, {"reject", NULL, 0, {NULL}},
        {"<\xff\xc3\xa9\xed\xa0\x80", NULL, 0, {NULL}}, {long_text, NULL, 0, {NULL}}, {"kept", NULL, 0, {NULL}}};
    ph_test_process(later, 5);
    assert(ph_test_rejected() == 3 && !ph__out.rejected.at[0].retryable);
    assert(strcmp(ph_test_reason(1), "bad: <\xEF\xBF\xBD\xc3\xa9\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD") == 0);
    for (const uint8_t *at = (const uint8_t *)ph_test_reason(2); *at; at += ph__character(at)) assert(ph__character(at));

    seen = 41;
    assert(strcmp(ph_test_restart("{\"mode\": \"y\", \"more\": 1}"),
                  "it was made with another configuration; what differs: `mode`, `limit`, `more`") == 0);
    assert(ph_test_open(&stage, "{\"mode\": \"x\"}") == NULL);
    seen = 41;
    assert(ph_test_restart("{\"mode\": \"x\"}") == NULL && seen == 41);
    assert(ph_test_finish() == NULL);
    text("out", 0, "value", "41");
    assert(ph_test_advance(9) == NULL && ph__out.created.at[0].times.at[0] == 9);
    /* The check value of CRC-32, in every description of it. */
    assert(ph__crc32((const uint8_t *)"123456789", 9) == 0xCBF43926u);
    puts("1 passed");
    return 0;
}
