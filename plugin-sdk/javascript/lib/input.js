// A batch as the stage sees it: fields of the current record.

import { decodeRows, packed, s64s, u32s } from './text.js';

/** Stands for "no time" in a column of timestamps. */
export const NO_TIME = -(2n ** 63n);

/** A column that the stage reads: only `Setup` makes one. It holds the column of the current batch. */
export class Field {
  constructor(what, name) {
    this.what = what;
    this.name = name;
    /** The texts of all rows, once it has paid to make them. */
    this.rows = null;
    this.column = null;
    this.ends = null;
    this.nulls = null;
    this.asked = 0;
  }

  /** The contract's `target`. */
  target() {
    return this.what === 'attribute' ? { tag: 'attribute', val: this.name } : { tag: this.what };
  }

  /** Takes the column of a batch, in the packed shape of the contract; null if there is none. */
  load(column) {
    this.rows = null;
    this.column = column ?? null;
    this.ends = null;
    this.nulls = null;
    this.asked = 0;
  }

  /** The text of a row that has not been decoded. */
  textAt(row) {
    const column = this.column;
    if (column === null) return null;
    // To decode all rows at once costs as much as to decode a sixteenth of them one by one.
    this.asked += 16;
    if (this.asked > row) {
      const rows = decodeRows(column.data, column.ends);
      if (column.nulls != null) for (const i of u32s(column.nulls)) rows[i] = null;
      this.rows = rows;
      return rows[row];
    }
    const bytes = this.bytesAt(row);
    return bytes && decodeRows(bytes, packed(Uint32Array.of(bytes.length)))[0];
  }

  /** The bytes of a row: a view of the batch's. */
  bytesAt(row) {
    const column = this.column;
    if (column === null) return null;
    if (this.ends === null) {
      this.ends = u32s(column.ends);
      if (column.nulls != null) this.nulls = new Set(u32s(column.nulls));
    }
    if (this.nulls !== null && this.nulls.has(row)) return null;
    return column.data.subarray(row === 0 ? 0 : this.ends[row - 1], this.ends[row]);
  }
}

/** The record that `process` is given: always the same object, which moves from row to row. */
export class Record {
  constructor() {
    this.row = 0;
    this.input = 0;
  }

  text(field) {
    const rows = field.rows;
    return rows !== null ? rows[this.row] : field.textAt(this.row);
  }

  bytes(field) {
    return field.bytesAt(this.row);
  }

  timestamp(time) {
    const times = time.times;
    if (times === null) return null;
    const nanoseconds = times[this.row];
    return nanoseconds === NO_TIME ? null : nanoseconds;
  }

  isFrom(input) {
    return input.index === this.input;
  }
}

/** Gives the columns of a batch to the fields; without a batch, takes them away. */
export function load(setup, record, batch) {
  let attribute = 0;
  for (const field of setup.fields) {
    if (batch === null) field.load(null);
    else if (field.what === 'attribute') field.load(batch.attributes[attribute++]);
    else field.load(batch[field.what]);
  }
  const times = batch?.timestamps;
  if (setup.times !== null) setup.times.times = times == null ? null : s64s(times);
  record.input = batch === null ? 0 : batch.input;
}
