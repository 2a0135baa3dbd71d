// Runs a stage natively, in a unit test: records in, records out, no wasm. What runs is what runs in
// the sandbox, up to the bytes of the contract.

import { Opened, schemaOf, worldOf } from './lib/opened.js';
import { NO_TIME } from './lib/input.js';
import { decode, encode, packed, s64s, u32s } from './lib/text.js';

/** A record with this value and nothing else. */
export function record(value = null, { key = null, timestamp = null, attributes = {} } = {}) {
  return new TestRecord(
    bytesOf(value),
    bytesOf(key),
    timestamp === null ? null : timestamp instanceof Date ? BigInt(timestamp.getTime()) * 1000000n : BigInt(timestamp),
    new Map(Object.entries(attributes).flatMap(([name, one]) => (one == null ? [] : [[name, bytesOf(one)]]))),
  );
}

/** Opens a stage, gives it the records in one batch, and finishes it. */
export function run(Type, config, records) {
  const driven = Driven.open(Type, config);
  const out = driven.process(records);
  const finished = driven.finish();
  for (const [port, more] of out.ports) more.push(...finished.port(port));
  return out;
}

/** An opened stage, to call it as the host does, but without a host. */
export class Driven {
  static open(Type, config = {}) {
    worldOf(Type);
    JSON.parse(schemaOf(Type));
    return new Driven(Type, new Opened(Type, JSON.stringify(config)));
  }

  constructor(Type, opened) {
    this.Type = Type;
    this.opened = opened;
  }

  /** What the stage declared. */
  get plan() {
    return this.opened.plan;
  }

  /** Processes a batch, which came in by the input of this name or by the first one. */
  process(records, { input } = {}) {
    const { reads, inputs } = this.plan;
    const number = input === undefined ? 0 : inputs.indexOf(input);
    if (number < 0) throw new Error(`the stage has no input ${JSON.stringify(input)}`);
    records = records.map((one) => (one instanceof TestRecord ? one : record(one)));
    const batch = {
      len: records.length,
      timestamps: reads.timestamps ? packed(BigInt64Array.from(records, (one) => one.time ?? NO_TIME)) : null,
      key: reads.key ? column(records.map((one) => one.keyBytes)) : null,
      value: reads.value ? column(records.map((one) => one.valueBytes)) : null,
      attributes: reads.attributes.map((name) => column(records.map((one) => one.attributeBytes.get(name) ?? null))),
      input: number,
    };
    return this.outputs(this.opened.process(batch), records);
  }

  /** Passes a watermark, in nanoseconds or as a Date. */
  advance(watermark) {
    const nanoseconds = watermark instanceof Date ? BigInt(watermark.getTime()) * 1000000n : BigInt(watermark);
    return this.outputs(this.opened.advance(nanoseconds), []);
  }

  finish() {
    return this.outputs(this.opened.finish(), []);
  }

  /**
   * The same stage after a restart, with its state restored; perhaps with another configuration, or
   * as another class, which is then a new version of the stage. Throws what the stage throws if it
   * refuses the state.
   */
  restarted(config = this.opened.config, Type = this.Type) {
    // Several groups, as of a stage with several instances.
    const byKey = this.plan.keeps.tag === 'by-key';
    const saved = this.opened.save({ first: 0, end: byKey ? 64 : 1, count: byKey ? 64 : 1 });
    const restarted = Driven.open(Type, config);
    restarted.opened.restore(saved, { version: '0.0.0', config: this.opened.configText });
    return restarted;
  }

  outputs(outcome, parents) {
    const ports = new Map(this.plan.ports.map((port) => [port, []]));
    for (const output of outcome.outputs) {
      ports.get(this.plan.ports[output.port]).push(...joined(output, parents));
    }
    return new Outputs(ports, outcome.rejected);
  }
}

/** What came out of a stage. */
export class Outputs {
  constructor(ports, rejected) {
    this.ports = ports;
    this.rejected = rejected;
  }

  /** The records that went to a port. */
  port(name) {
    const records = this.ports.get(name);
    if (records === undefined) throw new Error(`the stage has no port ${JSON.stringify(name)}`);
    return records;
  }

  /** The records that went to the default port. */
  get out() {
    return this.ports.values().next().value;
  }
}

/** A record of a test: made by `record`. */
class TestRecord {
  constructor(value, key, timestamp, attributes) {
    this.valueBytes = value;
    this.keyBytes = key;
    this.time = timestamp;
    this.attributeBytes = attributes;
  }

  get value() {
    return this.valueBytes && decode(this.valueBytes);
  }

  get key() {
    return this.keyBytes && decode(this.keyBytes);
  }

  get timestamp() {
    return this.time;
  }

  get attributes() {
    return Object.fromEntries(Array.from(this.attributeBytes, ([name, bytes]) => [name, decode(bytes)]));
  }
}

const bytesOf = (value) => (value == null || value instanceof Uint8Array ? value ?? null : encode(String(value)));

function column(rows) {
  const ends = new Uint32Array(rows.length);
  let at = 0;
  rows.forEach((bytes, row) => (ends[row] = at += bytes?.length ?? 0));
  const data = new Uint8Array(at);
  rows.forEach((bytes, row) => bytes && data.set(bytes, ends[row] - bytes.length));
  const nulls = rows.flatMap((bytes, row) => (bytes === null ? [row] : []));
  // As the host does: a column that no record has is none.
  if (nulls.length === rows.length) return null;
  return { ends: packed(ends), data, nulls: nulls.length === 0 ? null : packed(Uint32Array.from(nulls)) };
}

/** As the host does with an output: fills in all that it did not change. */
function joined(output, parents) {
  const { tag, val } = output.rows;
  const copy = (one) => new TestRecord(one.valueBytes, one.keyBytes, one.time, new Map(one.attributeBytes));
  const rows =
    tag === 'all' ? parents.map(copy)
    : tag === 'picked' ? Array.from(u32s(val), (row) => copy(parents[row]))
    : Array.from({ length: val }, () => record());
  const apply = (change, set) => {
    const nulls = new Set(u32s(change.nulls));
    const inherited = new Set(u32s(change.inherited));
    const ends = u32s(change.ends);
    rows.forEach((one, row) => {
      if (inherited.has(row)) return;
      set(one, nulls.has(row) ? null : change.data.slice(row === 0 ? 0 : ends[row - 1], ends[row]));
    });
  };
  if (output.key !== null) apply(output.key, (one, bytes) => (one.keyBytes = bytes));
  if (output.value !== null) apply(output.value, (one, bytes) => (one.valueBytes = bytes));
  for (const { name, change } of output.attributes) {
    apply(change, (one, bytes) => (bytes === null ? one.attributeBytes.delete(name) : one.attributeBytes.set(name, bytes)));
  }
  for (const name of output.removed) for (const one of rows) one.attributeBytes.delete(name);
  if (output.timestamps !== null) {
    const inherited = new Set(u32s(output.timestamps.inherited));
    s64s(output.timestamps.timestamps).forEach((time, row) => {
      if (!inherited.has(row)) rows[row].time = time === NO_TIME ? null : time;
    });
  }
  return rows;
}
