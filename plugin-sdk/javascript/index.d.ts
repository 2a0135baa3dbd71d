/** What a stage's configuration looks like: a JSON Schema of an object. */
export interface ConfigSchema {
  properties?: { [name: string]: object };
  required?: string[];
  /** False unless it is said: a misspelt setting is a mistake. */
  additionalProperties?: boolean | object;
  [keyword: string]: unknown;
}

declare const brand: unique symbol;

/** A column that the stage reads: the key, the value or an attribute. Only `Setup` makes one. */
export interface Field {
  readonly [brand]: 'field';
}

/** The timestamps of the records. Only `Setup` makes one. */
export interface Time {
  readonly [brand]: 'time';
}

/** An output port. Only `Setup` makes one. */
export interface Port {
  readonly [brand]: 'port';
}

/** An input that the stage tells from the others. Only `Setup` makes one. */
export interface Input {
  readonly [brand]: 'input';
}

/** What can be the value, the key or an attribute of a record. A number is written as `String` does. */
export type Value = string | Uint8Array | number | bigint;

/**
 * A stage: extend it, and make the class the default export of the module.
 *
 * A stage that has `save` and `restore` keeps its state over restarts. One that has `advance` too
 * receives watermarks.
 */
export abstract class Stage<Config = unknown> {
  /** The JSON Schema of the configuration. The host checks it before anything runs. */
  static config?: ConfigSchema;

  /**
   * Declares, through `setup`, what the stage reads and which ports it has. An error is a mistake
   * in the configuration: it is shown to the operator, and nothing runs.
   */
  open(config: Config, setup: Setup): void;

  /**
   * Processes one record. It is emitted each time it is kept; one that is never kept is dropped. What is
   * thrown rejects the record, and takes back what was emitted for it.
   */
  process(record: Record, out: Out): void;

  /** Called after the last record: emits what the stage still holds, as new records. */
  finish(out: Out): void;

  /**
   * Saves the state: what it returns, or what it puts into `state`. Must change nothing.
   *
   * The state may hold what JSON has, and bigints, bytes and other typed arrays, dates, maps and sets.
   */
  save?(state: Save): unknown;

  /**
   * Takes over a saved state; called after `open`, before the first record. It may come from several
   * instances, or be a part of what one has saved, if the stage keeps by key.
   */
  restore?(saved: Saved): void;

  /**
   * Whether the stage can go on with a state that another version of it or another configuration has
   * made: called before `restore`. An error is shown to the operator, and nothing runs. By default,
   * refuses another configuration, and names the settings.
   */
  accepts(saved: Saved): void;

  /**
   * All records before `watermark`, in nanoseconds since the Unix epoch, have come. Emits new records.
   * After a failure or a restart, the same watermark may come a second time.
   */
  advance?(watermark: bigint, out: Out): void;
}

/** Rejects the record that is being processed. */
export class Reject extends Error {
  /** With `retryable`, the same record may succeed later, and the pipeline's `retry` applies. */
  constructor(reason: string, options?: { retryable?: boolean; cause?: unknown });
  readonly retryable: boolean;
}

/** Declares what a stage reads and writes. What is not declared never enters the sandbox. */
export interface Setup {
  /** Reads the value. */
  value(): Field;
  /** Reads the key. */
  key(): Field;
  /** Reads the attribute of this name, which a record may have or not. */
  attribute(name: string): Field;
  /** Reads the attribute of this name; without one, the key. */
  attributeOrKey(name?: string | null): Field;
  /** Reads the timestamps of the records. */
  timestamp(): Time;
  /** Declares one more input that the stage tells apart, in the order in which the pipeline gives them. */
  input(name: string): Input;
  /** Adds a port beside the default one. */
  port(name: string): Port;
  /** Gives the default port, `out`, another name. */
  renameDefaultPort(name: string): void;
  /** What the stage does with a record depends on this record alone: it may run on all cores. */
  keepsNothing(): void;
  /**
   * What the stage does with a record depends on no record with another value there: instances share
   * the keys.
   */
  keepsByKey(field: Field): void;
}

/** The record that is being processed. It is no other object for the next record: keep what it returns. */
export interface Record {
  /**
   * The text of a field, or null if the record has none. A byte that is not UTF-8 is a lone surrogate,
   * U+DC80 to U+DCFF, and becomes that byte again where the text is emitted: `isWellFormed()` tells, and
   * `toWellFormed()` puts U+FFFD there.
   */
  text(field: Field): string | null;
  /** The bytes of a field, or null if the record has none. They must not be changed. */
  bytes(field: Field): Uint8Array | null;
  /** When the event happened, in nanoseconds since the Unix epoch, or null. */
  timestamp(time: Time): bigint | null;
  /** Whether the record came in by this input. */
  isFrom(input: Input): boolean;
}

/** Takes what a stage emits. */
export interface Out {
  /** Emits the current record on the default port; called again, once more. */
  keep(): Row;
  /** As `keep`, on another port. */
  send(port: Port): Row;
  /** Emits a new record on the default port. It inherits nothing. */
  create(): Row;
  /** As `create`, on another port. */
  createOn(port: Port): Row;
}

/**
 * A record to be emitted: change what should be different. All else is inherited, and never enters the
 * sandbox. Can be changed until `process` returns, and no longer.
 */
export interface Row {
  /** Sets the value; null takes it away. */
  value(value: Value | null): this;
  /** Sets the key; null takes it away. */
  key(value: Value | null): this;
  /** Adds an attribute, or changes it; null removes it. */
  attribute(name: string, value: Value | null): this;
  /** Removes an attribute. */
  removeAttribute(name: string): this;
  /** Sets the timestamp, as nanoseconds since the Unix epoch or as a Date; null takes it away. */
  timestamp(time: bigint | Date | null): this;
}

/** Collects the state of a stage. */
export interface Save {
  /** Saves the state. Of a stage that keeps by key: what is the same in all of its instances. */
  put(state: unknown): void;
  /** Saves what the stage keeps by key. A null key is the same as an empty one. */
  putByKey(entries: Iterable<readonly [string | null, unknown]>): void;
}

/** A saved state, and who saved it. */
export interface Saved {
  /** The version of the component that saved it. */
  readonly version: string;
  /** The configuration that it was saved with. */
  readonly config: { readonly [name: string]: unknown };
  /** The settings that are not what they were. */
  readonly changed: readonly string[];
  /** Refuses the state if other settings than these have changed. */
  acceptChangesOf(settings: readonly string[]): void;
  /** What was `put`; undefined if nothing was. */
  get<T = any>(): T;
  /** What was put by key. */
  byKey<T = any>(): Map<string, T>;
}

/** The text of bytes: see `Record.text`. */
export function textOf(bytes: Uint8Array): string;
/** The bytes of a text. */
export function bytesOf(text: string): Uint8Array;

/**
 * Metrics of the stage's own: the host shows them with those of the pipeline, as `stage_NAME`, with the stage as
 * a label. What a call tells counts once, with the answer that the host accepts. Names are of a-z, 0-9 and `_`.
 */
export const metrics: {
  /** Adds to a counter: a positive number. */
  add(name: string, by?: number, labels?: globalThis.Record<string, string>): void;
  /** Sets a gauge. */
  set(name: string, to: number, labels?: globalThis.Record<string, string>): void;
  /** Adds a value to a histogram, whose buckets end at 0.001, 0.01, 0.1, 1, 10, 100 and 1000. */
  observe(name: string, value: number, labels?: globalThis.Record<string, string>): void;
};
