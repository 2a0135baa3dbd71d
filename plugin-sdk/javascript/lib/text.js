// Text and bytes, without loss: a byte that is not UTF-8 is a lone surrogate in text, U+DC80 to
// U+DCFF, and becomes that byte again.
//
// A component brings a native codec (`useNative`). Everywhere else, and while a component is being
// built, what is written here is used.

let native = null;

/** `codec` as the interface `text` in codec/text.wit; null takes it away. */
export function useNative(codec) {
  native = codec;
}

const SEPARATOR = '\0';

/**
 * The texts of the rows of a column.
 *
 * @param {Uint8Array} data
 * @param {Uint8Array} ends packed u32
 * @returns {string[]}
 */
export function decodeRows(data, ends) {
  if (native !== null) return JSON.parse(native.decode(data, ends));
  let from = 0;
  return Array.from(u32s(ends), (end) => {
    const text = decodeSlowly(data, from, end);
    from = end;
    return text;
  });
}

/**
 * The bytes of texts, and their ends as packed u32. What is no text has no bytes.
 *
 * @param {(string | null | undefined)[]} texts
 * @returns {{ data: Uint8Array, ends: Uint8Array }}
 */
export function encodeRows(texts) {
  const rows = texts.length;
  if (native !== null) {
    if (rows === 0) return { data: new Uint8Array(), ends: new Uint8Array() };
    const joined = texts.join(SEPARATOR);
    if (joined.isWellFormed()) {
      const [data, ends] = native.encode(joined, rows);
      if (ends.length !== 0) return { data, ends };
    }
    // One of them has a separator in it, or something that is not UTF-8.
    const [data, ends] = native.encodeJson(JSON.stringify(texts), rows);
    return { data, ends };
  }
  const out = [];
  const ends = new Uint32Array(rows);
  texts.forEach((text, row) => {
    if (typeof text === 'string') encodeSlowly(text, out);
    ends[row] = out.length;
  });
  return { data: Uint8Array.from(out), ends: new Uint8Array(ends.buffer) };
}

/**
 * The text of bytes.
 *
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function decode(bytes) {
  return decodeRows(bytes, packed(Uint32Array.of(bytes.length)))[0];
}

/**
 * The bytes of a text.
 *
 * @param {string} text
 * @returns {Uint8Array}
 */
export function encode(text) {
  return encodeRows([text]).data;
}

/** Packed u32 as numbers. */
export function u32s(bytes) {
  if (bytes.byteOffset % 4 !== 0) bytes = bytes.slice();
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}

/** Packed s64 as bigints. */
export function s64s(bytes) {
  if (bytes.byteOffset % 8 !== 0) bytes = bytes.slice();
  return new BigInt64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8);
}

/** The bytes of a typed array. */
export function packed(numbers) {
  return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
}

function decodeSlowly(data, from, to) {
  let text = '';
  for (let at = from; at < to; ) {
    const length = characterLength(data, at, to);
    if (length === 0) {
      text += String.fromCharCode(0xdc00 + data[at]);
      at += 1;
      continue;
    }
    let code = data[at];
    if (length > 1) {
      code &= 0x7f >> length;
      for (let i = 1; i < length; i++) code = (code << 6) | (data[at + i] & 0x3f);
    }
    text += String.fromCodePoint(code);
    at += length;
  }
  return text;
}

/** The length of the character at a place, or 0 if the bytes there are not UTF-8. */
function characterLength(data, at, to) {
  const first = data[at];
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (to - at < length) return 0;
  let lowest = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  let highest = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  for (let i = 1; i < length; i++) {
    if (data[at + i] < lowest || data[at + i] > highest) return 0;
    lowest = 0x80;
    highest = 0xbf;
  }
  return length;
}

function encodeSlowly(text, out) {
  for (const character of text) {
    const code = character.codePointAt(0);
    if (code < 0x80) out.push(code);
    else if (code < 0x800) out.push(0xc0 | (code >> 6), 0x80 | (code & 0x3f));
    else if (code >= 0xdc80 && code <= 0xdcff) out.push(code & 0xff);
    else if (code >= 0xd800 && code <= 0xdfff) out.push(0xef, 0xbf, 0xbd);
    else if (code < 0x10000) {
      out.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
    } else {
      out.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 0x3f));
      out.push(0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
    }
  }
}
