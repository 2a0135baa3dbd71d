// The state of a stage as the host keeps it: bytes of each key group, and who saved them.

import { parseConfig } from './config.js';
import { decode, encode, encodeRows, u32s } from './text.js';

const FORMAT = 'pipehost-js 1';

const CRC = new Uint32Array(256);
for (let i = 0; i < 256; i++) {
  let crc = i;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  CRC[i] = crc;
}

/** The key group of a key, as the contract defines it: its CRC-32, modulo the number of groups. */
function groupOf(bytes, from, to, count) {
  let crc = 0xffffffff;
  for (let i = from; i < to; i++) crc = (crc >>> 8) ^ CRC[(crc ^ bytes[i]) & 0xff];
  return ((crc ^ 0xffffffff) >>> 0) % count;
}

/** Collects the state of a stage. */
export class Save {
  constructor(groups) {
    this.groups = groups;
    this.whole = undefined;
    this.byGroup = new Map();
  }

  put(state) {
    this.whole = state === undefined ? undefined : plain(state, 'the state');
  }

  putByKey(entries) {
    const keys = [];
    const values = [];
    for (const [key, value] of entries) {
      if (typeof key !== 'string' && key !== null) throw new TypeError('a key must be a string or null');
      keys.push(key ?? '');
      values.push(plain(value, `the state of key ${JSON.stringify(key)}`));
    }
    const { first, end, count } = this.groups;
    const { data, ends } = count > 1 ? encodeRows(keys) : {};
    let from = 0;
    const to = count > 1 && u32s(ends);
    keys.forEach((key, row) => {
      let group = 0;
      if (count > 1) {
        group = groupOf(data, from, to[row], count);
        from = to[row];
      }
      // A key that is in another instance's groups cannot have come to this one.
      if (group < first || group >= end) {
        throw new Error(`the key ${JSON.stringify(key)} is not one of the records of this instance`);
      }
      const entries = this.byGroup.get(group);
      if (entries === undefined) this.byGroup.set(group, [[key, values[row]]]);
      else entries.push([key, values[row]]);
    });
  }

  /** The contract's list of `group-state`. */
  finish() {
    const states = [];
    for (let number = this.groups.first; number < this.groups.end; number++) {
      const entries = this.byGroup.get(number);
      if (this.whole === undefined && entries === undefined) continue;
      const saved = { format: FORMAT, whole: this.whole, entries };
      states.push({ number, state: encode(JSON.stringify(saved)) });
    }
    return states;
  }
}

/** A saved state, and who saved it. */
export class Saved {
  /** `states` are bytes of groups; `config` is the configuration of the stage that takes them. */
  constructor(states, by, config) {
    this.version = by.version;
    this.config = parseConfig(by.config);
    const names = new Set([...Object.keys(this.config), ...Object.keys(config)]);
    this.changed = [...names].filter((name) => !same(this.config[name], config[name])).sort();
    this.groups = states.map((bytes) => {
      let group = null;
      try {
        group = JSON.parse(decode(bytes));
      } catch {
        // What is no JSON is in another format.
      }
      if (group?.format !== FORMAT) throw new Error('it was saved in another format');
      return group;
    });
  }

  acceptChangesOf(settings = []) {
    const others = this.changed.filter((name) => !settings.includes(name));
    if (others.length === 0) return;
    const list = others.map((name) => `\`${name}\``).join(', ');
    throw new Error(`it was made with another configuration; what differs: ${list}`);
  }

  get() {
    const group = this.groups.findLast((one) => one.whole !== undefined);
    return group && revived(group.whole);
  }

  byKey() {
    const all = new Map();
    for (const { entries = [] } of this.groups) {
      for (const [key, value] of entries) all.set(key, revived(value));
    }
    return all;
  }
}

/** Whether two values of JSON are the same; the order of members does not count. */
function same(a, b) {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => name in b && same(a[name], b[name]));
}

// What JSON does not have is saved as an object of one member whose name begins with `$`. An object
// that has such a member itself is put in one, `$object`.

const ARRAYS = [
  Uint8Array, Int8Array, Uint8ClampedArray, Uint16Array, Int16Array, Uint32Array, Int32Array,
  Float32Array, Float64Array, BigInt64Array, BigUint64Array,
];

/** A value as JSON has it. */
function plain(value, where) {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0) ? value : { $number: Object.is(value, -0) ? '-0' : String(value) };
    case 'bigint':
      return { $bigint: String(value) };
    case 'undefined':
      return { $undefined: 0 };
    case 'object':
      break;
    default:
      throw new TypeError(`${where} holds a ${typeof value}, which cannot be saved`);
  }
  if (value === null) return null;
  if (Array.isArray(value)) return value.map((one) => plain(one, where));
  if (value instanceof Map) {
    return { $map: Array.from(value, ([key, one]) => [plain(key, where), plain(one, where)]) };
  }
  if (value instanceof Set) return { $set: Array.from(value, (one) => plain(one, where)) };
  if (value instanceof Date) return { $date: value.getTime() };
  for (const Type of ARRAYS) {
    if (!(value instanceof Type)) continue;
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return { $array: [Type.name, toBase64(bytes)] };
  }
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    throw new TypeError(`${where} holds a ${value.constructor?.name ?? 'class'}, which cannot be saved: save what it holds`);
  }
  const object = {};
  let marked = false;
  for (const name of Object.keys(value)) {
    if (name.startsWith('$')) marked = true;
    define(object, name, plain(value[name], where));
  }
  return marked ? { $object: object } : object;
}

/** The reverse of `plain`. */
function revived(value) {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(revived);
  if ('$object' in value) return members(value.$object);
  if ('$map' in value) return new Map(value.$map.map(([key, one]) => [revived(key), revived(one)]));
  if ('$set' in value) return new Set(value.$set.map(revived));
  if ('$date' in value) return new Date(value.$date ?? NaN);
  if ('$bigint' in value) return BigInt(value.$bigint);
  if ('$number' in value) return Number(value.$number);
  if ('$undefined' in value) return undefined;
  if ('$array' in value) {
    const Type = ARRAYS.find((one) => one.name === value.$array[0]);
    if (Type === undefined) throw new Error('it was saved in another format');
    return new Type(fromBase64(value.$array[1]).buffer);
  }
  return members(value);
}

function members(value) {
  const object = {};
  for (const name of Object.keys(value)) define(object, name, revived(value[name]));
  return object;
}

/** Sets a member of any name: assigning to `__proto__` does something else. */
function define(object, name, value) {
  if (name === '__proto__') {
    Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
  } else {
    object[name] = value;
  }
}

function toBase64(bytes) {
  if (bytes.toBase64) return bytes.toBase64();
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
