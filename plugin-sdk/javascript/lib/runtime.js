// What JavaScript programs expect and QuickJS does not have, or has frozen: a component is a snapshot
// of the engine, taken when it was built. Imported first by the entry of a component.

import { getStdout } from 'wasi:cli/stdout@0.2.12';
import { getStderr } from 'wasi:cli/stderr@0.2.12';
import { insecureSeed } from 'wasi:random/insecure-seed@0.2.12';
import * as codec from 'pipehost:js/text@0.1.0';
import * as host from 'pipehost:stage/metrics@0.2.0';

import { useHost } from './metrics.js';
import { decode, encode, useNative } from './text.js';

/** Whether it can call out: not while it is built. What is printed then is lost; the builder has shown it. */
let live = false;
const streams = {};

/** Called by each function that the component exports: from then on it can call out. */
export function enter() {
  if (live) return;
  live = true;
  useNative(codec);
  useHost(host);
  reseed();
  startClock();
}

function write(to, text) {
  if (!live) return;
  try {
    streams[to] ??= to === 'stdout' ? getStdout() : getStderr();
    const bytes = encode(text.toWellFormed() + '\n');
    for (let at = 0; at < bytes.length; at += 4096) {
      streams[to].blockingWriteAndFlush(bytes.subarray(at, at + 4096));
    }
  } catch {
    // A log that is not taken is no reason to fail.
  }
}

const printer = (to) => (...values) => write(to, values.map((value) => show(value, true, [])).join(' '));
const timers = new Map();

globalThis.console = {
  log: printer('stdout'),
  info: printer('stdout'),
  debug: printer('stdout'),
  error: printer('stderr'),
  warn: printer('stderr'),
  trace: (...values) => console.error(...values, new Error().stack),
  assert: (condition, ...values) => condition || console.error('Assertion failed:', ...values),
  dir: (value) => console.log(value),
  table: (value) => console.log(value),
  group: (...values) => console.log(...values),
  groupEnd: () => {},
  time: (name = 'default') => void timers.set(name, performance.now()),
  timeEnd: (name = 'default') => console.log(`${name}: ${performance.now() - timers.get(name)} ms`),
};

/** A stack with places in the author's sources. The builder puts a table of the lines into the bundle. */
function inSources(stack) {
  const { sources, lines } = JSON.parse(globalThis.__pipehostLines ?? '{"sources":[],"lines":[]}');
  return stack.replace(/componentize-qjs:user\.js:(\d+):\d+/g, (place, line) => {
    // Runs of lines: the first in the bundle, the number of the source, the first in the source.
    const run = lines.findLast(([first]) => first <= line);
    return run === undefined ? place : `${sources[run[1]]}:${run[2] + (line - run[0])}`;
  });
}

/** A value as it is shown in a log. */
function show(value, top, parents) {
  switch (typeof value) {
    case 'string':
      return top ? value : JSON.stringify(value);
    case 'bigint':
      return `${value}n`;
    case 'function':
      return `[function ${value.name}]`;
    case 'object':
      break;
    default:
      return String(value);
  }
  if (value === null) return 'null';
  if (value instanceof Error) {
    const stack = inSources((value.stack ?? '').trimEnd());
    const cause = value.cause === undefined || parents.length > 4 ? '' : `\n  cause: ${show(value.cause, false, [...parents, value])}`;
    return `${value.name}: ${value.message}${stack && `\n${stack}`}${cause}`;
  }
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString();
  if (value instanceof RegExp) return String(value);
  if (parents.includes(value)) return '[circular]';
  if (parents.length > 4) return '…';
  const within = [...parents, value];
  const list = (values) => {
    const shown = Array.from(values).slice(0, 100).map((one) => show(one, false, within));
    return shown.join(', ');
  };
  const entries = (pairs, between) =>
    pairs.slice(0, 100).map(([name, one]) => `${name}${between}${show(one, false, within)}`).join(', ');
  if (Array.isArray(value)) return `[${list(value)}]`;
  const name = value.constructor?.name ?? 'Object';
  if (ArrayBuffer.isView(value)) return `${name}(${value.length}) [${list(value)}]`;
  if (value instanceof Set) return `Set(${value.size}) {${list(value)}}`;
  if (value instanceof Map) {
    return `Map(${value.size}) {${entries([...value].map(([key, one]) => [show(key, false, within), one]), ' => ')}}`;
  }
  return `${name === 'Object' ? '' : `${name} `}{${entries(Object.entries(value), ': ')}}`;
}

/** `Math.random`, with a seed of this instance instead of one of the build: xoshiro128**. */
function reseed() {
  const words = new Uint32Array(4);
  const halves = insecureSeed();
  for (let i = 0; i < 2; i++) {
    const half = Number(halves[i]);
    words[2 * i] = half % 2 ** 32;
    words[2 * i + 1] = half / 2 ** 32;
  }
  words[0] |= 1;
  const next = () => {
    let [a, b, c, d] = words;
    const scrambled = Math.imul(b, 5);
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9) >>> 0;
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = (d << 11) | (d >>> 21);
    words.set([a, b, c, d]);
    return result;
  };
  for (let i = 0; i < 16; i++) next();
  Math.random = () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53;
}

/** `performance.now` counts from the start of the instance, not of the build. */
function startClock() {
  const clock = performance;
  const start = clock.now();
  const timeOrigin = Date.now();
  globalThis.performance = { timeOrigin, now: () => clock.now() - start };
}

globalThis.TextEncoder ??= class TextEncoder {
  get encoding() {
    return 'utf-8';
  }

  encode(text = '') {
    return encode(String(text).toWellFormed());
  }

  encodeInto(text, into) {
    let read = 0;
    let written = 0;
    for (const character of String(text).toWellFormed()) {
      const code = character.codePointAt(0);
      const length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
      if (written + length > into.length) break;
      read += character.length;
      written += length;
    }
    into.set(encode(String(text).toWellFormed().slice(0, read)));
    return { read, written };
  }
};

globalThis.TextDecoder ??= class TextDecoder {
  constructor(encoding = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
    if (!/^\s*(utf-?8|unicode-1-1-utf-8)\s*$/i.test(encoding)) throw new RangeError(`there is no decoder for ${encoding}`);
    this.encoding = 'utf-8';
    this.fatal = fatal;
    this.ignoreBOM = ignoreBOM;
  }

  decode(bytes = new Uint8Array(), { stream = false } = {}) {
    if (stream) throw new TypeError('a TextDecoder of pipehost does not stream');
    if (!(bytes instanceof Uint8Array)) {
      bytes = ArrayBuffer.isView(bytes) ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength) : new Uint8Array(bytes);
    }
    let text = decode(bytes);
    if (!this.ignoreBOM && text.startsWith('\ufeff')) text = text.slice(1);
    if (this.fatal && !text.isWellFormed()) throw new TypeError('it is not UTF-8');
    return text.toWellFormed();
  }
};

