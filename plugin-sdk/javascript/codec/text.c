// The component that is linked into a stage: see text.wit. Built by build.sh.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

// What one call needs lies in one area, which is given up when the call has returned.
extern u8 __heap_base;
static u32 next;

__attribute__((export_name("cabi_realloc")))
u8 *cabi_realloc(u8 *old, u32 old_len, u32 align, u32 len) {
    if (len == 0) return (u8 *)align;
    if (next == 0) next = (u32)&__heap_base;
    u64 at = ((u64)next + align - 1) & ~(u64)(align - 1), end = at + len;
    u64 have = (u64)__builtin_wasm_memory_size(0) << 16;
    if (end > have) {
        u64 pages = (end - have + 0xffff) >> 16;
        if (pages > 0xffff || __builtin_wasm_memory_grow(0, (u32)pages) == (u32)-1) __builtin_trap();
    }
    next = (u32)end;
    u8 *to = (u8 *)(u32)at;
    if (old_len) __builtin_memcpy(to, old, old_len < len ? old_len : len);
    return to;
}

static void done(void) { next = (u32)&__heap_base; }

static u64 word(const u8 *at) {
    u64 w;
    __builtin_memcpy(&w, at, 8);
    return w;
}

#define ALL(byte) (0x0101010101010101ULL * (byte))

// Not zero if a byte of the word is 0.
static u64 zero(u64 w) { return (w - ALL(1)) & ~w & ALL(0x80); }

// Whether all of 8 bytes are ASCII that a JSON string holds as it is.
static int plain(u64 w) {
    return !((w | zero(w ^ ALL('"')) | zero(w ^ ALL('\\')) | (w - ALL(0x20))) & ALL(0x80));
}

// The length of the character at `at`, or 0 if its bytes are not UTF-8.
static u32 character(const u8 *at, const u8 *end) {
    u32 b = at[0], n, lowest = 0x80, highest = 0xbf;
    if (b < 0x80) return 1;
    if (b < 0xc2 || b > 0xf4) return 0;
    if (b < 0xe0) n = 2;
    else if (b < 0xf0) {
        n = 3;
        if (b == 0xe0) lowest = 0xa0;
        if (b == 0xed) highest = 0x9f;
    } else {
        n = 4;
        if (b == 0xf0) lowest = 0x90;
        if (b == 0xf4) highest = 0x8f;
    }
    if ((u32)(end - at) < n) return 0;
    for (u32 i = 1; i < n; i++) {
        if (at[i] < lowest || at[i] > highest) return 0;
        lowest = 0x80, highest = 0xbf;
    }
    return n;
}

static const char hex[] = "0123456789abcdef";

static u8 *escape(u8 *out, const char *high, u32 low) {
    out[0] = '\\', out[1] = 'u', out[2] = (u8)high[0], out[3] = (u8)high[1];
    out[4] = (u8)hex[low >> 4], out[5] = (u8)hex[low & 15];
    return out + 6;
}

// How many bytes more than it has these bytes make in a JSON string.
static u64 more(const u8 *at, const u8 *end) {
    u64 n = 0;
    while (at < end) {
        while (end - at >= 8 && plain(word(at))) at += 8;
        for (u32 some = 8; some && at < end; some--) {
            u32 b = *at;
            u32 len = b < 0x80 ? 1 : character(at, end);
            if (len == 0 || b < 0x20) n += 5;
            else if (b == '"' || b == '\\') n += 1;
            at += len ? len : 1;
        }
    }
    return n;
}

static struct { u8 *at; u32 len; } text;

__attribute__((export_name("decode")))
void *decode(u8 *data, u32 len, u8 *ends, u32 ends_len) {
    u64 most = len + 3 * (u64)(ends_len / 4) + 2;
    for (u32 row = 0, from = 0, end; row < ends_len; row += 4, from = end) {
        __builtin_memcpy(&end, ends + row, 4);
        if (end > len || end < from) __builtin_trap();
        most += more(data + from, data + end);
    }
    if (most >> 31) __builtin_trap();
    u8 *start = cabi_realloc(0, 0, 1, (u32)most), *out = start;
    const u8 *at = data;
    *out++ = '[';
    for (u32 row = 0; row < ends_len; row += 4) {
        u32 row_end;
        __builtin_memcpy(&row_end, ends + row, 4);
        const u8 *end = data + row_end;
        if (row) *out++ = ',';
        *out++ = '"';
        while (at < end) {
            while (end - at >= 8) {
                u64 w = word(at);
                if (!plain(w)) break;
                __builtin_memcpy(out, &w, 8);
                at += 8, out += 8;
            }
            for (u32 some = 8; some && at < end; some--) {
                u32 b = *at, n = 1;
                if (b >= 0x80) {
                    n = character(at, end);
                    if (n == 0) out = escape(out, "dc", b), at++;
                    else while (n--) *out++ = *at++;
                    continue;
                }
                if (b < 0x20) out = escape(out, "00", b);
                else {
                    if (b == '"' || b == '\\') *out++ = '\\';
                    *out++ = (u8)b;
                }
                at++;
            }
        }
        *out++ = '"';
    }
    *out++ = ']';
    text.at = start, text.len = (u32)(out - start);
    return &text;
}

__attribute__((export_name("cabi_post_decode"))) void decode_done(void *p) { (void)p; done(); }

static struct { u8 *data; u32 len; u8 *ends; u32 ends_len; } bytes;

static void *nothing(void) {
    bytes.data = bytes.ends = 0;
    bytes.len = bytes.ends_len = 0;
    return &bytes;
}

static u8 *space_for_ends(u32 rows) {
    if (rows >> 28) __builtin_trap();
    bytes.ends_len = 4 * rows;
    return bytes.ends = cabi_realloc(0, 0, 4, 4 * rows);
}

static u8 *end_row(u8 *ends, u32 len) {
    __builtin_memcpy(ends, &len, 4);
    return ends + 4;
}

__attribute__((export_name("encode")))
void *encode(u8 *texts, u32 len, u32 rows) {
    u8 *at = texts, *out = texts, *end = texts + len, *ends = space_for_ends(rows);
    for (u32 row = 0; row < rows; row++) {
        u8 *from = at;
        while (end - at >= 8 && !zero(word(at))) at += 8;
        while (at < end && *at) at++;
        if (out == from) out = at;
        else while (from < at) {
            if (at - from >= 8) {
                u64 w = word(from);
                __builtin_memcpy(out, &w, 8);
                from += 8, out += 8;
            } else *out++ = *from++;
        }
        ends = end_row(ends, (u32)(out - texts));
        // Another separator must follow, but the last row ends where the text does.
        if ((at < end) != (row + 1 < rows)) return nothing();
        at++;
    }
    bytes.data = texts, bytes.len = (u32)(out - texts);
    return &bytes;
}

__attribute__((export_name("cabi_post_encode"))) void encode_done(void *p) { (void)p; done(); }

static u32 hex_digit(u32 b) { return b <= '9' ? b - '0' : (b | 0x20) - 'a' + 10; }

__attribute__((export_name("encode-json")))
void *encode_json(u8 *texts, u32 len, u32 rows) {
    u8 *at = texts + 1, *out = texts, *end = texts + len, *ends = space_for_ends(rows);
    for (u32 row = 0; row < rows; row++) {
        if (at >= end) return nothing();
        if (*at == '"') {
            for (at++; at < end && *at != '"';) {
                u32 b = *at++;
                if (b != '\\') { *out++ = (u8)b; continue; }
                b = *at++;
                if (b == 'b') b = '\b';
                else if (b == 'f') b = '\f';
                else if (b == 'n') b = '\n';
                else if (b == 'r') b = '\r';
                else if (b == 't') b = '\t';
                else if (b == 'u') {
                    b = hex_digit(at[0]) << 12 | hex_digit(at[1]) << 8 | hex_digit(at[2]) << 4 | hex_digit(at[3]);
                    at += 4;
                    if (b >= 0xdc80 && b <= 0xdcff) b &= 0xff; // A byte that is not UTF-8.
                    else if (b >= 0x80) { // A lone surrogate: nothing else is written so.
                        *out++ = 0xef, *out++ = 0xbf;
                        b = 0xbd;
                    }
                }
                *out++ = (u8)b;
            }
            at++;
        } else at += 4; // null
        ends = end_row(ends, (u32)(out - texts));
        at++;
    }
    bytes.data = texts, bytes.len = (u32)(out - texts);
    return &bytes;
}

__attribute__((export_name("cabi_post_encode-json"))) void encode_json_done(void *p) { (void)p; done(); }
