/* Shouts the lines that have a word in them. */
#include "vendor/pipehost.h"

#include <ctype.h>

static ph_field value;
static char word[64];

static ph_error open_stage(ph_config config, ph_setup *setup) {
    if (!ph_config_text(config, "word", word, sizeof word)) return "`word` is too long";
    value = ph_value(setup);
    ph_keeps_nothing(setup);
    return NULL;
}

static bool has_word(ph_bytes line) {
    size_t len = strlen(word);
    for (size_t at = 0; at + len <= line.len; at++)
        if (memcmp(line.data + at, word, len) == 0) return true;
    return false;
}

static ph_error process(const ph_record *record, ph_out *out) {
    ph_bytes line = ph_get(record, value);
    if (line.data == NULL) return "it has no value";
    ph_row row = ph_keep(out);
    if (has_word(line)) {
        uint8_t *to = ph_value_room(row, line.len);
        for (size_t i = 0; i < line.len; i++) to[i] = (uint8_t)toupper(line.data[i]);
    }
    return NULL;
}

static const ph_stage stage = {
    .name = "my-stage",
    .version = "0.1.0",
    .summary = "Shouts the lines that have a word in them",
    .schema = "{\"properties\": {\"word\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 63,"
              " \"description\": \"Lines with this word are changed.\"}}, \"required\": [\"word\"]}",
    .open = open_stage,
    .process = process,
};
PH_EXPORT(stage)
