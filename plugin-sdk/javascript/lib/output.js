// What a stage emits, column by column.

import { NO_TIME } from './input.js';
import { encodeRows, packed } from './text.js';

const NOTHING = new Uint8Array();

/** Rows that are made once and used again in each batch; beyond, each is made when it is emitted. */
const POOL = 16384;

/** Takes what a stage emits. */
export class Out {
  constructor(ports, record) {
    this.record = record;
    this.ports = ports;
    this.rows = ports.map(() => new Rows());
    this.first = this.rows[0];
    /** New rows, by port; null where there are none. */
    this.created = ports.map(() => null);
    this.rejected = [];
  }

  keep() {
    return this.emit(this.first);
  }

  send(port) {
    const rows = this.rows[port.index];
    if (rows === undefined || this.ports[port.index] !== port) throw notAPort();
    return this.emit(rows);
  }

  emit(rows) {
    const index = rows.count;
    const row = this.record.row;
    // Parents need no list while all rows are kept in order.
    if (rows.parents !== null || index !== row) rows.note(index, row);
    rows.count = index + 1;
    return index < rows.pool.length ? rows.pool[index] : rows.another(index);
  }

  create() {
    return this.createOn(this.ports[0]);
  }

  createOn(port) {
    if (this.ports[port.index] !== port) throw notAPort();
    const rows = (this.created[port.index] ??= new Rows());
    const index = rows.count++;
    // To take them back if the record is rejected.
    rows.note(index, Math.max(this.record.row, 0));
    return index < rows.pool.length ? rows.pool[index] : rows.another(index);
  }

  /** Rejects the current record, and takes back what was emitted for it. */
  reject(reason, retryable) {
    const row = this.record.row;
    for (const rows of this.rows) rows.takeBack(row);
    for (const rows of this.created) rows?.takeBack(row);
    this.rejected.push({ row, reason, retryable });
  }

  begin() {
    for (const rows of this.rows) rows.clear();
    this.created.fill(null);
    this.rejected = [];
  }

  /** The contract's `outcome`, packed, of a batch of so many rows. */
  outcome(len) {
    const outputs = [];
    this.rows.forEach((rows, port) => {
      if (rows.count !== 0) outputs.push(rows.output(port, rows.descent(len), false));
    });
    this.created.forEach((rows, port) => {
      if (rows === null || rows.count === 0) return;
      outputs.push(rows.output(port, { tag: 'fresh', val: rows.count }, true));
    });
    return { outputs, rejected: this.rejected };
  }
}

const notAPort = () => new TypeError('not a port of this stage: `setup.port(name)` makes one');

/** A record to be emitted: change what should be different. */
class Row {
  constructor(rows, index) {
    this.rows = rows;
    this.index = index;
  }

  value(value) {
    const rows = this.rows;
    if (rows.value === null) rows.value = new Column();
    rows.value.set(this.index, value);
    return this;
  }

  key(value) {
    const rows = this.rows;
    if (rows.key === null) rows.key = new Column();
    rows.key.set(this.index, value);
    return this;
  }

  attribute(name, value) {
    this.rows.attribute(name).set(this.index, value);
    return this;
  }

  removeAttribute(name) {
    return this.attribute(name, null);
  }

  timestamp(time) {
    const rows = this.rows;
    if (rows.times === null) rows.times = [];
    while (rows.times.length < this.index) rows.times.push(undefined);
    rows.times[this.index] = nanoseconds(time);
    return this;
  }
}

function nanoseconds(time) {
  if (time === null) return NO_TIME;
  if (typeof time === 'bigint' && time === BigInt.asIntN(64, time)) return time;
  if (time instanceof Date && !Number.isNaN(time.getTime())) return BigInt(time.getTime()) * 1000000n;
  throw new TypeError('a timestamp must be a bigint of nanoseconds, a valid Date, or null');
}

/** The rows of one port, and the columns that some of them change. */
class Rows {
  constructor() {
    this.pool = [];
    this.clear();
  }

  clear() {
    this.count = 0;
    /** The input row of each; null while the rows are those of the input, in order. */
    this.parents = null;
    this.key = null;
    this.value = null;
    this.attributes = null;
    this.lastName = null;
    this.lastColumn = null;
    this.times = null;
  }

  note(index, parent) {
    if (parent < 0) throw new Error('there is no record to keep: `create` makes a new one');
    if (this.parents === null || index === this.parents.length) {
      const more = new Uint32Array(Math.max(1024, 2 * index));
      if (this.parents !== null) more.set(this.parents);
      else for (let i = 0; i < index; i++) more[i] = i;
      this.parents = more;
    }
    this.parents[index] = parent;
  }

  another(index) {
    const row = new Row(this, index);
    if (index < POOL) this.pool.push(row);
    return row;
  }

  attribute(name) {
    if (name === this.lastName) return this.lastColumn;
    this.attributes ??= new Map();
    let column = this.attributes.get(name);
    if (column === undefined) {
      if (typeof name !== 'string' || name === '') {
        throw new TypeError('the name of an attribute must be a string, and not empty');
      }
      column = new Column();
      this.attributes.set(name, column);
    }
    this.lastName = name;
    this.lastColumn = column;
    return column;
  }

  takeBack(row) {
    const parent = (index) => (this.parents === null ? index : this.parents[index]);
    const before = this.count;
    while (this.count > 0 && parent(this.count - 1) === row) this.count--;
    if (this.count === before) return;
    this.key?.truncate(this.count);
    this.value?.truncate(this.count);
    this.attributes?.forEach((column) => column.truncate(this.count));
    if (this.times !== null && this.times.length > this.count) this.times.length = this.count;
  }

  /** The contract's `rows`. */
  descent(len) {
    if (this.parents === null) {
      if (this.count === len) return { tag: 'all' };
      this.note(this.count, 0);
    }
    return { tag: 'picked', val: packed(this.parents.subarray(0, this.count)) };
  }

  output(port, rows, fresh) {
    const attributes = [];
    const removed = [];
    this.attributes?.forEach((column, name) => {
      const change = column.change(this.count, fresh);
      if (change === null) removed.push(name.toWellFormed());
      else attributes.push({ name: name.toWellFormed(), change });
    });
    return {
      port,
      rows,
      timestamps: this.times && this.timesChange(fresh),
      key: this.key && this.key.change(this.count, fresh, true),
      value: this.value && this.value.change(this.count, fresh, true),
      attributes,
      removed,
      excerpts: [],
    };
  }

  timesChange(fresh) {
    const times = new BigInt64Array(this.count).fill(NO_TIME);
    const inherited = [];
    for (let i = 0; i < this.count; i++) {
      const time = this.times[i];
      if (time !== undefined) times[i] = time;
      else if (!fresh) inherited.push(i);
    }
    return { timestamps: packed(times), inherited: packedRows(inherited) };
  }
}

/** A column that grows a row at a time. */
class Column {
  constructor() {
    /** A text, bytes, null, or undefined where the row inherits. */
    this.rows = [];
    /** Whether some row is no text. */
    this.mixed = false;
  }

  set(index, value) {
    const rows = this.rows;
    if (index > rows.length) {
      this.mixed = true;
      while (rows.length < index) rows.push(undefined);
    }
    rows[index] = typeof value === 'string' ? value : this.other(value);
  }

  other(value) {
    if (typeof value === 'number' || typeof value === 'bigint') return String(value);
    if (value !== null && !(value instanceof Uint8Array)) {
      throw new TypeError('a value must be a string, a Uint8Array, a number, a bigint or null');
    }
    this.mixed = true;
    return value;
  }

  truncate(len) {
    if (this.rows.length > len) this.rows.length = len;
  }

  /** The contract's `change`, packed; null if no row has a value, unless `always`. */
  change(count, fresh, always = false) {
    const rows = this.rows;
    if (!this.mixed && rows.length === count) {
      const { data, ends } = encodeRows(rows);
      return { ends, data, nulls: NOTHING, inherited: NOTHING };
    }
    while (rows.length < count) rows.push(undefined);
    const nulls = [];
    const inherited = [];
    let bytes = 0;
    rows.forEach((value, row) => {
      if (value === null || (value === undefined && fresh)) nulls.push(row);
      else if (value === undefined) inherited.push(row);
      else if (typeof value !== 'string') bytes += value.length;
    });
    if (nulls.length === count && !always) return null;
    let { data, ends } = encodeRows(rows.map((value) => (typeof value === 'string' ? value : null)));
    if (bytes !== 0) ({ data, ends } = mixed(rows, data, ends, bytes));
    return { ends, data, nulls: packedRows(nulls), inherited: packedRows(inherited) };
  }
}

/** Puts the rows that are bytes between those that are texts. */
function mixed(rows, texts, textEnds, bytes) {
  const data = new Uint8Array(texts.length + bytes);
  const ends = new Uint32Array(rows.length);
  const from = new Uint32Array(textEnds.buffer, textEnds.byteOffset, rows.length);
  let at = 0;
  rows.forEach((value, row) => {
    const part =
      value instanceof Uint8Array ? value : texts.subarray(row === 0 ? 0 : from[row - 1], from[row]);
    data.set(part, at);
    at += part.length;
    ends[row] = at;
  });
  return { data, ends: packed(ends) };
}

const packedRows = (rows) => (rows.length === 0 ? NOTHING : packed(Uint32Array.from(rows)));
