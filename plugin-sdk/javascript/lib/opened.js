// A stage that has been opened, and the loop over the rows of a batch: what a component exports and
// what tests drive.

import { parseConfig } from './config.js';
import { load, Record } from './input.js';
import { Out } from './output.js';
import { Save, Saved } from './saved.js';
import { Setup } from './setup.js';

/** The base of all stages. */
export class Stage {
  open(_config, _setup) {}

  process(_record, out) {
    out.keep();
  }

  finish(_out) {}

  accepts(saved) {
    saved.acceptChangesOf([]);
  }
}

/** Rejects the record that is being processed, for a reason. */
export class Reject extends Error {
  constructor(reason, options) {
    super(reason, options);
    this.name = 'Reject';
    this.retryable = options?.retryable === true;
  }
}

/** What is wrong, for a person: the message of an `Error` that a stage made on purpose, others with their type. */
export function describeError(error) {
  let text;
  try {
    if (!(error instanceof Error)) text = String(error);
    else if (error instanceof Reject) text = error.message;
    else text = error.message === '' ? error.name : `${error.name}: ${error.message}`;
  } catch {
    text = 'an error that cannot be shown';
  }
  return String(text).toWellFormed();
}

/** The message of a plain `Error`; any other with its type. */
function messageOf(error) {
  const isPlain = error instanceof Error && error.name === 'Error' && error.message !== '';
  return isPlain ? String(error.message).toWellFormed() : describeError(error);
}

/** What kinds of calls a stage takes: `transform`, `stateful-transform` or `timed-transform`. */
export function worldOf(Type) {
  const has = (name) => typeof Type?.prototype?.[name] === 'function';
  if (!(Type?.prototype instanceof Stage)) {
    throw new TypeError('the default export must be a class that extends `Stage` of @pipehost/plugin');
  }
  if (has('save') !== has('restore')) {
    throw new TypeError(`a stage with \`${has('save') ? 'save' : 'restore'}\` needs both of \`save\` and \`restore\``);
  }
  if (has('advance')) {
    if (!has('save')) throw new TypeError('a stage with `advance` needs `save` and `restore`');
    return 'timed-transform';
  }
  return has('save') ? 'stateful-transform' : 'transform';
}

/** The JSON Schema of the configuration. */
export function schemaOf(Type) {
  const schema = { type: 'object', ...(Type.config ?? { properties: {} }) };
  schema.additionalProperties ??= false;
  return JSON.stringify(schema);
}

export class Opened {
  /**
   * @param Type the class of the stage
   * @param {string} config in JSON
   */
  constructor(Type, config) {
    this.configText = config;
    this.config = parseConfig(config);
    this.setup = new Setup();
    this.stage = new Type();
    sync(this.stage.open(parseConfig(config), this.setup), 'open');
    this.plan = this.setup.plan();
    this.record = new Record();
    this.record.row = -1;
    this.out = new Out(this.setup.ports, this.record);
  }

  /** The contract's `process`, packed. */
  process(batch) {
    const { record, out, stage } = this;
    const len = batch.len;
    load(this.setup, record, batch);
    out.begin();
    for (let row = 0; row < len; row++) {
      record.row = row;
      try {
        const answer = stage.process(record, out);
        if (answer !== undefined) sync(answer, 'process');
      } catch (error) {
        if (!(error instanceof Reject)) report(error);
        out.reject(describeError(error), error?.retryable === true);
      }
    }
    record.row = -1;
    load(this.setup, record, null);
    return out.outcome(len);
  }

  finish() {
    return this.fresh('finish', () => this.stage.finish(this.out));
  }

  /** `watermark` in nanoseconds, as a bigint. */
  advance(watermark) {
    return this.fresh('advance', () => this.stage.advance(watermark, this.out));
  }

  fresh(name, call) {
    this.out.begin();
    sync(call(), name);
    return this.out.outcome(0);
  }

  save(groups) {
    const save = new Save(groups);
    const state = this.stage.save(save);
    sync(state, 'save');
    if (state !== undefined) save.put(state);
    return save.finish();
  }

  restore(saved, by) {
    const states = new Saved(saved.map((group) => group.state), by, this.config);
    this.stage.accepts(states);
    sync(this.stage.restore(states), 'restore');
  }
}

/** Calls for the host: what is thrown is the text that the operator sees. */
export function guarded(call) {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof Error && error.name === 'Error')) report(error);
    throw messageOf(error);
  }
}

/** Prints an error with its stack, less the frames of what called the stage. */
function report(error) {
  try {
    const own = new Error().stack.trimEnd().split('\n').reverse();
    const frames = error.stack.trimEnd().split('\n').reverse();
    let common = 0;
    while (common < frames.length && frames[common] === own[common]) common++;
    // One frame more: it differs in the line.
    error.stack = frames.slice(common + 1).reverse().join('\n');
  } catch {
    // It is shown as it is.
  }
  console.error(error);
}

function sync(answer, name) {
  if (typeof answer?.then === 'function') {
    throw new TypeError(`\`${name}\` must not be async: a stage cannot wait`);
  }
}
