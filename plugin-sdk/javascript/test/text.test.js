import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';

import { decode, decodeRows, encode, encodeRows, packed, u32s, useNative } from '../lib/text.js';
import { codec, memory } from './codec.js';

/** Rows of bytes as a column. */
function column(rows) {
  const ends = new Uint32Array(rows.length);
  let at = 0;
  rows.forEach((row, i) => (ends[i] = at += row.length));
  const data = new Uint8Array(at);
  rows.forEach((row, i) => data.set(row, ends[i] - row.length));
  return [data, packed(ends)];
}

function rowsOf({ data, ends }) {
  let from = 0;
  return Array.from(u32s(ends), (end) => {
    const row = Array.from(data.subarray(from, end));
    from = end;
    return row;
  });
}

/** Numbers that are the same in each run. */
function* random(seed = 1) {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    yield (state >>> 16) & 0x7fff;
  }
}

for (const [name, native] of [['in JavaScript', null], ['native', codec]]) {
  describe(`text and bytes, ${name}`, () => {
    const use = (call) => () => {
      useNative(native);
      call();
    };
    afterEach(() => useNative(null));

    const texts = [
      '', 'plain', 'a longer text that is more than eight bytes', 'ünï', '日本語', '😀 and more',
      '"quoted" \\ back', 'a\nb\tc\r\u0001\u001f\u007f', '\u2028', '\ufeffbom', '\uffff',
      'seven77', 'eight888', 'nine99999"',
    ];

    test('texts become bytes and texts again', use(() => {
      const { data, ends } = encodeRows(texts);
      assert.deepEqual(data, new Uint8Array(Buffer.from(texts.join(''))));
      assert.deepEqual(decodeRows(data, ends), texts);
      for (const text of texts) assert.equal(decode(encode(text)), text);
    }));

    test('a text may hold NUL', use(() => {
      const rows = ['a\0b', '', '\0', 'c'];
      const { data, ends } = encodeRows(rows);
      assert.deepEqual(decodeRows(data, ends), rows);
    }));

    test('what is no text has no bytes', use(() => {
      assert.deepEqual(rowsOf(encodeRows(['a', null, undefined, 'b'])), [[97], [], [], [98]]);
      assert.deepEqual(rowsOf(encodeRows(['\0', null, undefined, 'b'])), [[0], [], [], [98]]);
      assert.deepEqual(rowsOf(encodeRows([null])), [[]]);
      assert.deepEqual(rowsOf(encodeRows([])), []);
    }));

    test('bytes that are not UTF-8 survive', use(() => {
      const rows = [
        [0xff], [0x61, 0xe9, 0x62], [0xc3], [0xa9], [0xe2, 0x82], [0xf0, 0x9f, 0x98], [0xed, 0xa0, 0x80],
        [0xc0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0x80, 0x80], [0xe0, 0x80, 0x80], [0xf0, 0x80, 0x80, 0x80],
        [0xf8, 0x88, 0x80, 0x80, 0x80],
      ];
      const decoded = decodeRows(...column(rows));
      assert.deepEqual(decoded.slice(0, 4), ['\udcff', 'a\udce9b', '\udcc3', '\udca9']);
      assert.ok(decoded.every((text) => !text.isWellFormed()));
      assert.deepEqual(rowsOf(encodeRows(decoded)), rows);
    }));

    test('halves of characters that meet do not become one', use(() => {
      const { data, ends } = encodeRows(['\ud83d', '\ude00', '\udc00x', 'é']);
      const none = [0xef, 0xbf, 0xbd];
      assert.deepEqual(rowsOf({ data, ends }), [none, none, [...none, 0x78], [0xc3, 0xa9]]);
    }));

    test('any bytes survive', use(() => {
      const numbers = random();
      const next = (below) => numbers.next().value % below;
      for (let round = 0; round < 300; round++) {
        const rows = Array.from({ length: 1 + next(6) }, () =>
          Array.from({ length: next(30) }, () =>
            [next(256), next(128), 0x80 + next(0x40), 0xc0 + next(0x40), 34, 92][next(6)],
          ),
        );
        const decoded = decodeRows(...column(rows));
        assert.deepEqual(rowsOf(encodeRows(decoded)), rows);
        useNative(null);
        assert.deepEqual(decodeRows(...column(rows)), decoded);
        useNative(native);
      }
    }));
  });
}

test('the native codec gives its memory back', () => {
  useNative(codec);
  const rows = Array(4096).fill('a line of some bytes, and "more" of them');
  const once = () => assert.equal(decodeRows(...Object.values(encodeRows(rows)))[4095], rows[0]);
  once();
  const before = memory();
  for (let i = 0; i < 20; i++) once();
  useNative(null);
  assert.equal(memory(), before);
});
