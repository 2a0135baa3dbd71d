// The codec of codec/text.wasm, called as a component would call it.

import { readFileSync } from 'node:fs';

const component = readFileSync(new URL('../codec/text.wasm', import.meta.url));

/** The first core module in the component. */
function coreModule() {
  for (let at = 8; at < component.length; ) {
    const id = component[at++];
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = component[at++];
      size |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    if (id === 1) return component.subarray(at, at + size);
    at += size;
  }
  throw new Error('there is no module');
}

const core = new WebAssembly.Instance(new WebAssembly.Module(coreModule())).exports;
const utf8 = new TextDecoder('utf-8', { fatal: true });

const lower = (bytes, align) => {
  const at = core.cabi_realloc(0, 0, align, bytes.length);
  new Uint8Array(core.memory.buffer).set(bytes, at);
  return [at, bytes.length];
};
const words = (at, count) => Array.from(new Uint32Array(core.memory.buffer, at, count));
const lift = (at, len) => new Uint8Array(core.memory.buffer).slice(at, at + len);

const called = (name, result, ...lowered) => {
  const at = core[name](...lowered);
  const value = result(at);
  core[`cabi_post_${name}`](at);
  return value;
};
const pair = (at) => {
  const [data, length, ends, count] = words(at, 4);
  return [lift(data, length), lift(ends, count)];
};
const lowerText = (text) => {
  if (!text.isWellFormed()) throw new Error('the engine would trap: it is no well-formed string');
  return lower(new TextEncoder().encode(text), 1);
};

export const codec = {
  decode: (data, ends) =>
    called('decode', (at) => utf8.decode(lift(...words(at, 2))), ...lower(data, 1), ...lower(ends, 1)),
  encode: (texts, rows) => called('encode', pair, ...lowerText(texts), rows),
  encodeJson: (texts, rows) => called('encode-json', pair, ...lowerText(texts), rows),
};

/** Bytes of memory that the codec has. */
export const memory = () => core.memory.buffer.byteLength;
