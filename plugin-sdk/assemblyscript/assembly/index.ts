// Write a pipehost stage in AssemblyScript:
//
//     import { Config, Out, Record, Setup, Stage, register } from "@pipehost/plugin-assemblyscript/assembly";
//     export { cabi_realloc, describe, finish, open, process, release } from "@pipehost/plugin-assemblyscript/assembly";
//
//     class KeepLevel extends Stage {
//       level: i32 = 0;
//       wanted: string = "";
//       open(config: Config, setup: Setup): string | null {
//         this.level = setup.attribute("level");
//         this.wanted = config.text("level");
//         setup.keepsNothing();
//         return null;
//       }
//       process(record: Record, out: Out): void {
//         if (record.text(this.level) == this.wanted) out.keep();
//       }
//     }
//     register(new KeepLevel("keep-level", "0.1.0", "Keeps the records of one level",
//       `{"properties": {"level": {"type": "string"}}, "required": ["level"]}`));
//
// A stage says in `open` what it reads; a text that `open` returns refuses the configuration. It sees one record at a
// time, and emits it with `keep`, as often as it likes. What it does not change is inherited, and never leaves the host.
// `out.reject(reason)` rejects the record. One that keeps a state also exports `save` and `restore` from here, and one that
// sees time pass `advance`.
//
// The contract that this file implements is the package `pipehost:stage@0.2.0`, in its canonical ABI for wasm32.

/** Stands for "no time". */
export const NO_TIME: i64 = i64.MIN_VALUE;

const KEY: i32 = -1;
const VALUE: i32 = -2;

export abstract class Stage {
  constructor(
    public name: string,
    public version: string,
    /** One line: what it does to records. */
    public summary: string,
    /** The JSON Schema of its configuration. `type` and `additionalProperties: false` are added. */
    public schema: string,
  ) {}
  abstract open(config: Config, setup: Setup): string | null;
  abstract process(record: Record, out: Out): void;
  finish(_out: Out): void {}
  save(_to: Save): void {}
  restore(_saved: Saved): string | null { return null; }
  advance(_watermark: i64, _out: Out): void {}
}

let stage: Stage | null = null;
/** Says what the program is. */
export function register(program: Stage): void { stage = program; }

/** What a stage declares in `open`. */
export class Setup {
  timestamps: bool = false;
  readsKey: bool = false;
  readsValue: bool = false;
  attributes: string[] = [];
  ports: string[] = ["out"];
  inputs: string[] = [];
  keeps: u8 = 0;
  by: i32 = 0;

  /** Reads the value. */
  value(): i32 { this.readsValue = true; return VALUE; }
  /** Reads the key. */
  key(): i32 { this.readsKey = true; return KEY; }
  /** Reads the times of the records. */
  timestamp(): void { this.timestamps = true; }
  /** Reads the attribute of this name, which a record may have or not. */
  attribute(name: string): i32 { return place(this.attributes, name); }
  /** Adds a port beside the default one. */
  port(name: string): i32 { return place(this.ports, name); }
  /** Names one more input that the stage tells apart. */
  input(name: string): i32 { return place(this.inputs, name); }
  /** What it does with a record depends on this record alone: it runs on as many cores as there are. */
  keepsNothing(): void { this.keeps = 1; }
  /** What it keeps belongs to one value of this column: instances share the keys. */
  keepsByKey(field: i32): void { this.keeps = 2; this.by = field; }
}
function place(names: string[], name: string): i32 {
  const found = names.indexOf(name);
  return found >= 0 ? found : names.push(name) - 1;
}

/** The configuration, a JSON object. */
export class Config {
  constructor(private json: string) {}

  /** The JSON text of a member; null if it is missing. */
  member(name: string): string | null {
    const members = this.members();
    for (let i = 0; i < members.length; i += 2) if (members[i] == name) return members[i + 1];
    return null;
  }
  /** A text; empty if the member is missing or is none. */
  text(name: string): string {
    const json = this.member(name);
    return json != null && json.startsWith('"') ? unescaped(json) : "";
  }
  /** A whole number; `otherwise` if the member is missing. */
  int(name: string, otherwise: i64 = 0): i64 {
    const json = this.member(name);
    return json == null ? otherwise : I64.parseInt(json);
  }
  number(name: string, otherwise: f64 = 0): f64 {
    const json = this.member(name);
    return json == null ? otherwise : F64.parseFloat(json);
  }
  bool(name: string): bool { return this.member(name) == "true"; }
  has(name: string): bool { return this.member(name) != null; }

  /** Names and JSON texts, in turn. */
  members(): string[] {
    const found: string[] = [], json = this.json;
    let at = json.indexOf("{") + 1;
    while (at < json.length) {
      const c = json.charCodeAt(at);
      if (c == 125) break; // }
      if (c != 34) { at++; continue; }
      let end = skipped(json, at);
      found.push(unescaped(json.substring(at, end)));
      at = json.indexOf(":", end) + 1;
      while (json.charCodeAt(at) <= 32) at++;
      end = skipped(json, at);
      found.push(json.substring(at, end));
      at = end;
    }
    return found;
  }
}
/** Where the value ends that begins here. */
function skipped(json: string, at: i32): i32 {
  let depth = 0;
  for (; at < json.length; at++) {
    const c = json.charCodeAt(at);
    if (c == 34) {
      for (at++; json.charCodeAt(at) != 34; at++) if (json.charCodeAt(at) == 92) at++;
      if (depth == 0) return at + 1;
    } else if (c == 123 || c == 91) depth++;
    else if (c == 125 || c == 93) {
      if (depth == 0) return at;
      if (--depth == 0) return at + 1;
    } else if (depth == 0 && (c == 44 || c <= 32)) return at;
  }
  return at;
}
function unescaped(json: string): string {
  let text = "";
  for (let at = 1; at < json.length - 1; at++) {
    let c = json.charCodeAt(at);
    if (c == 92) {
      c = json.charCodeAt(++at);
      if (c == 98) c = 8;
      else if (c == 102) c = 12;
      else if (c == 110) c = 10;
      else if (c == 114) c = 13;
      else if (c == 116) c = 9;
      else if (c == 117) {
        c = <i32>U32.parseInt(json.substring(at + 1, at + 5), 16);
        at += 4;
      }
    }
    text += String.fromCharCode(c);
  }
  return text;
}

/** Where a column of a batch lies, in memory. */
@unmanaged
class Column {
  ends: usize = 0;
  data: usize = 0;
  nulls: usize = 0;
  nullCount: u32 = 0;
}

/** Bytes of a record, which are valid until the call ends. */
@unmanaged
export class Bytes {
  at: usize = 0;
  length: i32 = 0;
  given: bool = false;
}
const found = new Bytes();

/** One record. The stage sees the columns that it declared in `open`. */
export class Record {
  row: u32 = 0;
  input: i32 = 0;
  times: usize = 0;
  columns: StaticArray<Column> = new StaticArray<Column>(0);

  /** The bytes of a field. The same object at each call; `given` is false if the record has none. */
  bytes(field: i32): Bytes {
    const column = this.columns[field + 2], row = this.row;
    found.given = column.ends != 0 && !(column.nullCount > 0 && isNull(column, row));
    if (!found.given) { found.length = 0; return found; }
    const start = row == 0 ? 0 : load<u32>(column.ends + 4 * (row - 1));
    found.at = column.data + start;
    found.length = load<u32>(column.ends + 4 * row) - start;
    return found;
  }
  /**
   * The text of a field; null if the record has none. A byte that is no UTF-8 becomes one unit from U+DC80 to U+DCFF,
   * and is the same byte again where the text is set.
   */
  text(field: i32): string | null {
    const bytes = this.bytes(field);
    return bytes.given ? decoded(bytes.at, bytes.length) : null;
  }
  /** Nanoseconds since 1970, or NO_TIME. */
  time(): i64 { return this.times == 0 ? NO_TIME : load<i64>(this.times + 8 * this.row); }
  /** Whether it came by this input. */
  isFrom(input: i32): bool { return this.input == input; }
}
function isNull(column: Column, row: u32): bool {
  let low: u32 = 0, high = column.nullCount;
  while (low < high) {
    const middle = (low + high) >>> 1, is = load<u32>(column.nulls + 4 * middle);
    if (is == row) return true;
    if (is < row) low = middle + 1; else high = middle;
  }
  return false;
}

/** A list of numbers or bytes that grows, and keeps its room. */
@final
class Buffer {
  at: usize = 0;
  length: u32 = 0;
  private room: u32 = 0;

  reserve(bytes: u32): usize {
    const wanted = this.length + bytes;
    if (wanted > this.room) {
      this.room = max(2 * this.room, max(wanted, 256));
      this.at = this.at == 0 ? heap.alloc(this.room) : heap.realloc(this.at, this.room);
    }
    const from = this.at + this.length;
    this.length = wanted;
    return from;
  }
  u32(n: u32): void { store<u32>(this.reserve(4), n); }
  i64(n: i64): void { store<i64>(this.reserve(8), n); }
  bytes(from: usize, length: u32): void { memory.copy(this.reserve(length), from, length); }
  count(): u32 { return this.length >>> 2; }
  number(i: u32): u32 { return load<u32>(this.at + 4 * i); }
  popFrom(row: u32): void { while (this.length > 0 && this.number(this.count() - 1) >= row) this.length -= 4; }
}

/** A column that some rows change. */
@final
class Changed {
  isSet: bool = false;
  ends: Buffer = new Buffer();
  data: Buffer = new Buffer();
  nulls: Buffer = new Buffer();
  inherited: Buffer = new Buffer();
  constructor(public name: string) {}

  room(row: u32, length: u32): usize {
    if (this.ends.count() > row) this.truncate(row);
    this.catchUp(row);
    const to = this.data.reserve(length);
    this.ends.u32(this.data.length);
    return to;
  }
  setNull(row: u32): void { this.room(row, 0); this.nulls.u32(row); }
  catchUp(rows: u32): void {
    this.isSet = true;
    while (this.ends.count() < rows) { this.inherited.u32(this.ends.count()); this.ends.u32(this.data.length); }
  }
  truncate(rows: u32): void {
    if (this.ends.count() <= rows) return;
    this.ends.length = 4 * rows;
    this.data.length = rows == 0 ? 0 : this.ends.number(rows - 1);
    this.nulls.popFrom(rows);
    this.inherited.popFrom(rows);
  }
  clear(): void {
    this.isSet = false;
    this.ends.length = this.data.length = this.nulls.length = this.inherited.length = 0;
  }
}

/** A record to be emitted: change what should be different. It is valid until the next one is emitted. */
@final
export class Row {
  parents: Buffer = new Buffer();
  private valueColumn: Changed = new Changed("");
  private keyColumn: Changed = new Changed("");
  private attributes: Changed[] = [];
  private times: Buffer = new Buffer();
  private inheritedTimes: Buffer = new Buffer();
  private timesSet: bool = false;

  private get row(): u32 { return this.parents.count() - 1; }
  value(text: string): Row { put(this.valueColumn, this.row, text); return this; }
  /** Bytes at an address, such as those of `record.bytes`. */
  valueBytes(at: usize, length: i32): Row { memory.copy(this.valueRoom(length), at, length); return this; }
  /** Room for a value of this length, which the stage writes before it does anything else. */
  valueRoom(length: i32): usize { return this.valueColumn.room(this.row, length); }
  key(text: string): Row { put(this.keyColumn, this.row, text); return this; }
  keyBytes(at: usize, length: i32): Row { memory.copy(this.keyColumn.room(this.row, length), at, length); return this; }
  attribute(name: string, text: string): Row { put(this.column(name), this.row, text); return this; }
  attributeBytes(name: string, at: usize, length: i32): Row {
    memory.copy(this.column(name).room(this.row, length), at, length);
    return this;
  }
  removeAttribute(name: string): Row { this.column(name).setNull(this.row); return this; }
  /** Nanoseconds since 1970; NO_TIME takes the time away. */
  time(nanoseconds: i64): Row {
    this.catchUpTimes(this.row);
    this.times.length = 8 * this.row;
    this.times.i64(nanoseconds);
    return this;
  }

  private column(name: string): Changed {
    for (let i = 0; i < this.attributes.length; i++) if (this.attributes[i].name == name) return this.attributes[i];
    const column = new Changed(name);
    this.attributes.push(column);
    return column;
  }
  private catchUpTimes(rows: u32): void {
    this.timesSet = true;
    while (this.times.length < 8 * rows) { this.inheritedTimes.u32(this.times.length >>> 3); this.times.i64(NO_TIME); }
  }
  clear(): void {
    this.parents.length = this.times.length = this.inheritedTimes.length = 0;
    this.timesSet = false;
    this.valueColumn.clear();
    this.keyColumn.clear();
    for (let i = 0; i < this.attributes.length; i++) this.attributes[i].clear();
  }
  takeBack(row: u32): void {
    while (this.parents.length > 0 && this.parents.number(this.parents.count() - 1) == row) this.parents.length -= 4;
    const rows = this.parents.count();
    this.valueColumn.truncate(rows);
    this.keyColumn.truncate(rows);
    for (let i = 0; i < this.attributes.length; i++) this.attributes[i].truncate(rows);
    if (this.times.length > 8 * rows) { this.times.length = 8 * rows; this.inheritedTimes.popFrom(rows); }
  }
  /** Writes the contract's `output`. */
  lower(to: usize, port: u32, fresh: bool, given: u32): void {
    const rows = this.parents.count();
    memory.fill(to, 0, 132);
    store<u32>(to, port);
    if (fresh) {
      store<u8>(to + 4, 2);
      store<u32>(to + 8, rows);
    } else {
      let all = rows == given;
      for (let i: u32 = 0; all && i < rows; i++) all = this.parents.number(i) == i;
      if (!all) { store<u8>(to + 4, 1); list(to + 8, this.parents.at, rows); }
    }
    if (this.timesSet) {
      this.catchUpTimes(rows);
      store<u8>(to + 16, 1);
      list(to + 20, this.times.at, rows);
      if (!fresh) list(to + 28, this.inheritedTimes.at, this.inheritedTimes.count());
    }
    if (this.keyColumn.isSet) { store<u8>(to + 36, 1); lowerChange(to + 40, this.keyColumn, rows, fresh); }
    if (this.valueColumn.isSet) { store<u8>(to + 72, 1); lowerChange(to + 76, this.valueColumn, rows, fresh); }
    const changes = take(40 * this.attributes.length);
    let count = 0;
    for (let i = 0; i < this.attributes.length; i++) {
      const column = this.attributes[i];
      if (!column.isSet) continue;
      text(changes + 40 * count, column.name);
      lowerChange(changes + 40 * count++ + 8, column, rows, fresh);
    }
    list(to + 108, changes, count);
  }
  /** The value that a row was given; null if it was not changed. For tests. */
  changedValue(row: u32): string | null {
    const column = this.valueColumn;
    if (!column.isSet || row >= column.ends.count()) return null;
    for (let i: u32 = 0; i < column.inherited.count(); i++) if (column.inherited.number(i) == row) return null;
    const start = row == 0 ? 0 : column.ends.number(row - 1);
    return decoded(column.data.at + start, column.ends.number(row) - start);
  }
}
function put(column: Changed, row: u32, text: string): void {
  const length = String.UTF8.byteLength(text);
  if (length == text.length || !hasEscapes(text)) {
    String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, column.room(row, length));
    return;
  }
  const buffer = heap.alloc(length);
  let to = buffer;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (isEscape(text, i)) { store<u8>(to++, <u8>c); continue; }
    const units = (c & 0xFC00) == 0xD800 && i + 1 < text.length ? 2 : 1;
    to += String.UTF8.encodeUnsafe(changetype<usize>(text) + 2 * i, units, to);
    i += units - 1;
  }
  memory.copy(column.room(row, <u32>(to - buffer)), buffer, to - buffer);
  heap.free(buffer);
}

// ---- text ----

/** Whether this unit stands for a byte that is no UTF-8: see `decoded`. */
function isEscape(text: string, i: i32): bool {
  const c = text.charCodeAt(i);
  return c >= 0xDC80 && c <= 0xDCFF && (i == 0 || (text.charCodeAt(i - 1) & 0xFC00) != 0xD800);
}
function hasEscapes(text: string): bool {
  for (let i = 0; i < text.length; i++) if (isEscape(text, i)) return true;
  return false;
}
/** How many bytes of UTF-8 are the character that begins here; 0 if they are none. */
function character(at: usize, end: usize): u32 {
  const c = load<u8>(at);
  if (c < 0x80) return 1;
  const length: u32 = c < 0xC2 ? 0 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 0;
  if (length == 0 || at + length > end) return 0;
  for (let i: u32 = 1; i < length; i++) if ((load<u8>(at + i) & 0xC0) != 0x80) return 0;
  const next = load<u8>(at + 1);
  const none = (c == 0xE0 && next < 0xA0) || (c == 0xF0 && next < 0x90) || (c == 0xED && next > 0x9F) || (c == 0xF4 && next > 0x8F);
  return none ? 0 : length;
}
/** A text of bytes; those that are no UTF-8 are escaped as PEP 383 does. */
function decoded(at: usize, length: u32): string {
  const end = at + length;
  let from = at;
  while (from < end) {
    const n = character(from, end);
    if (n == 0) break;
    from += n;
  }
  if (from == end) return String.UTF8.decodeUnsafe(at, length);
  let text = String.UTF8.decodeUnsafe(at, from - at);
  for (let start = from; start < end;) {
    if (character(start, end) == 0) { text += String.fromCharCode(0xDC00 | load<u8>(start++)); continue; }
    let whole = start;
    for (let n = character(whole, end); n != 0; n = whole < end ? character(whole, end) : 0) whole += n;
    text += String.UTF8.decodeUnsafe(start, whole - start);
    start = whole;
  }
  return text;
}
/** A text for the host, which takes UTF-8 alone: what is none becomes U+FFFD. */
function wellFormed(text: string): string {
  let made = "";
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if ((c & 0xF800) != 0xD800) continue;
    if (c < 0xDC00 && i + 1 < text.length && (text.charCodeAt(i + 1) & 0xFC00) == 0xDC00) { i++; continue; }
    made += text.substring(from, i) + "\uFFFD";
    from = i + 1;
  }
  return from == 0 ? text : made + text.substring(from);
}

// ---- what is answered ----

function lowerChange(to: usize, column: Changed, rows: u32, fresh: bool): void {
  column.catchUp(rows);
  list(to, column.ends.at, rows);
  list(to + 8, column.data.at, column.data.length);
  list(to + 16, column.nulls.at, column.nulls.count());
  list(to + 24, column.inherited.at, column.inherited.count());
  const inherited = column.inherited.count();
  if (!fresh || inherited == 0) return;
  // New rows inherit nothing: they have no value. Both lists ascend.
  const nulls = column.nulls.count(), all = take(4 * (nulls + inherited));
  let n: u32 = 0, m: u32 = 0;
  while (n + m < nulls + inherited) {
    const isNull = n < nulls && (m >= inherited || column.nulls.number(n) < column.inherited.number(m));
    store<u32>(all + 4 * (n + m), isNull ? column.nulls.number(n) : column.inherited.number(m));
    if (isNull) n++; else m++;
  }
  list(to + 16, all, nulls + inherited);
  list(to + 24, 0, 0);
}

@final
class Rejected {
  constructor(public row: u32, public reason: string, public retryable: bool) {}
}

/** Takes what a stage emits. */
@final
export class Out {
  row: u32 = 0;
  hasBatch: bool = false;
  ports: Row[] = [];
  created: Row[] = [];
  rejected: Rejected[] = [];

  /** Emits the current record on the default port. */
  keep(): Row { return this.send(0); }
  /** The same on another port. */
  send(port: i32): Row { const row = this.ports[port]; row.parents.u32(this.row); return row; }
  /** Emits a new record, which inherits nothing. */
  create(): Row { return this.createOn(0); }
  createOn(port: i32): Row { const row = this.created[port]; row.parents.u32(this.row); return row; }
  /** Rejects the current record, and takes back what was emitted for it. */
  reject(reason: string, retryable: bool = false): void {
    this.takeBack();
    if (this.isRejected()) this.rejected.pop();
    this.rejected.push(new Rejected(this.row, reason, retryable));
  }
  private isRejected(): bool { return this.rejected.length > 0 && this.rejected[this.rejected.length - 1].row == this.row; }
  private takeBack(): void {
    for (let i = 0; i < this.ports.length; i++) { this.ports[i].takeBack(this.row); this.created[i].takeBack(this.row); }
  }
  /** The current record is processed: one that was rejected emits nothing. */
  settle(): void { if (this.isRejected()) this.takeBack(); }

  begin(hasBatch: bool): void {
    while (this.ports.length < setup.ports.length) { this.ports.push(new Row()); this.created.push(new Row()); }
    for (let i = 0; i < this.ports.length; i++) { this.ports[i].clear(); this.created[i].clear(); }
    this.rejected = [];
    this.row = 0;
    this.hasBatch = hasBatch;
  }
  lower(given: u32): usize {
    const answer = zeroed(20), outputs = take(264 * this.ports.length);
    let count: u32 = 0;
    for (let kind = 0; kind < 2; kind++) {
      const ports = kind == 0 ? this.ports : this.created;
      for (let port = 0; port < ports.length; port++) {
        if (ports[port].parents.length > 0) ports[port].lower(outputs + 132 * count++, port, kind == 1 || !this.hasBatch, given);
      }
    }
    list(answer + 4, outputs, count);
    const rejected = take(16 * this.rejected.length);
    for (let i = 0; i < this.rejected.length; i++) {
      store<u32>(rejected + 16 * i, this.rejected[i].row);
      text(rejected + 16 * i + 4, this.rejected[i].reason);
      store<u32>(rejected + 16 * i + 12, this.rejected[i].retryable ? 1 : 0);
    }
    list(answer + 12, rejected, this.rejected.length);
    return answer;
  }
}

/** Collects the state of a stage. */
@final
export class Save {
  whole: Uint8Array = new Uint8Array(0);
  groups: Map<u32, Buffer> = new Map();
  constructor(private first: u32, private end: u32, private count: u32) {}
  /** Saves the state of a stage; of one that keeps by key: what is the same in all its instances. */
  put(state: Uint8Array): void { this.whole = state; }
  /** Saves what belongs to one key. */
  putKey(key: Uint8Array, state: Uint8Array): void {
    const group = crc32(key) % max(this.count, 1);
    assert(group >= this.first && group < this.end, "the key is not one of the records of this instance");
    if (!this.groups.has(group)) this.groups.set(group, new Buffer());
    append(this.groups.get(group), key);
    append(this.groups.get(group), state);
  }
}
function append(to: Buffer, bytes: Uint8Array): void { to.u32(bytes.length); to.bytes(bytes.dataStart, bytes.length); }
/** CRC-32 as gzip has it, RFC 1952. */
function crc32(bytes: Uint8Array): u32 {
  let crc: u32 = 0xFFFFFFFF;
  for (let i = 0; i < bytes.length; i++) {
    crc ^= bytes[i];
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0xEDB88320 & (0 - (crc & 1)));
  }
  return ~crc;
}

@final
export class SavedKey {
  constructor(public key: Uint8Array, public state: Uint8Array) {}
}
/** A saved state, and who saved it. */
@final
export class Saved {
  /** What was put; null if nothing was. */
  whole: Uint8Array | null = null;
  keys: SavedKey[] = [];
  constructor(public version: string, public config: Config) {}
}

const setup = new Setup();
const record = new Record();
const out = new Out();
let configuration: string = "";

// ---- the canonical ABI ----

let blocks: StaticArray<usize> = new StaticArray<usize>(64);
let used: i32 = 0;
/** Memory that is free once the answer was read. */
function take(size: usize): usize {
  const at = heap.alloc(max(size, 1));
  if (used == blocks.length) {
    const more = new StaticArray<usize>(blocks.length * 2);
    for (let i = 0; i < used; i++) more[i] = blocks[i];
    blocks = more;
  }
  blocks[used++] = at;
  return at;
}
function zeroed(size: usize): usize { const at = take(size); memory.fill(at, 0, size); return at; }
function list(to: usize, at: usize, length: u32): void { store<u32>(to, length == 0 ? 0 : <u32>at); store<u32>(to + 4, length); }
function text(to: usize, unchecked: string): void {
  const s = wellFormed(unchecked);
  const length = String.UTF8.byteLength(s), at = take(length);
  String.UTF8.encodeUnsafe(changetype<usize>(s), s.length, at);
  list(to, at, length);
}
function texts(to: usize, names: string[]): void {
  const at = take(8 * names.length);
  for (let i = 0; i < names.length; i++) text(at + 8 * i, names[i]);
  list(to, at, names.length);
}
export function cabi_realloc(old: usize, oldSize: usize, _align: usize, size: usize): usize {
  const at = take(size);
  if (old) memory.copy(at, old, min(oldSize, size));
  return at;
}
export function release(_: usize): void {
  for (let i = 0; i < used; i++) heap.free(blocks[i]);
  used = 0;
  __collect(); // The minimal runtime collects nothing by itself. Here, nothing is on the stack.
}
/** What `abort` is: an assertion that fails is a trap. */
export function stop(_message: string | null, _file: string | null, _line: u32, _column: u32): void { unreachable(); }

function current(): Stage {
  if (stage == null) unreachable();
  return stage!;
}
export function describe(): usize {
  const s = current(), at = take(32), members = s.schema.substring(s.schema.indexOf("{") + 1);
  text(at, s.name);
  text(at + 8, s.version);
  text(at + 16, s.summary);
  const separator = members.trim() == "}" ? "" : ", ";
  text(at + 24, '{"type": "object", "additionalProperties": false' + separator + members);
  return at;
}
export function open(ptr: usize, length: usize): usize {
  configuration = String.UTF8.decodeUnsafe(ptr, length);
  const why = begin(configuration), at = zeroed(48);
  if (why != null) {
    store<u8>(at, 1);
    text(at + 4, why);
    return at;
  }
  store<bool>(at + 4, setup.timestamps);
  store<bool>(at + 5, setup.readsKey);
  store<bool>(at + 6, setup.readsValue);
  texts(at + 8, setup.attributes);
  texts(at + 16, setup.ports);
  texts(at + 24, setup.inputs);
  store<u8>(at + 32, setup.keeps);
  if (setup.keeps == 2) {
    store<u8>(at + 36, setup.by == KEY ? 0 : setup.by == VALUE ? 1 : 2);
    if (setup.by >= 0) text(at + 40, setup.attributes[setup.by]);
  }
  return at;
}
function begin(config: string): string | null {
  const why = current().open(new Config(config), setup);
  record.columns = new StaticArray<Column>(2 + setup.attributes.length);
  for (let i = 0; i < record.columns.length; i++) record.columns[i] = new Column();
  return why;
}
function loadColumn(field: i32, from: usize): void {
  const column = record.columns[field + 2], given = load<u8>(from) != 0;
  column.ends = given ? <usize>load<u32>(from + 4) : 0;
  column.data = load<u32>(from + 12);
  const nulls = given && load<u8>(from + 20) != 0;
  column.nulls = nulls ? <usize>load<u32>(from + 24) : 0;
  column.nullCount = nulls ? load<u32>(from + 28) : 0;
}
export function process(batch: usize): usize {
  const rows = load<u32>(batch), s = current();
  record.times = load<u8>(batch + 4) ? <usize>load<u32>(batch + 8) : 0;
  loadColumn(KEY, batch + 16);
  loadColumn(VALUE, batch + 48);
  const attributes = load<u32>(batch + 80);
  for (let i = 0; i < setup.attributes.length; i++) loadColumn(i, attributes + 32 * i);
  record.input = load<i32>(batch + 88);
  out.begin(true);
  for (let row: u32 = 0; row < rows; row++) {
    record.row = out.row = row;
    s.process(record, out);
    out.settle();
  }
  return out.lower(rows);
}
export function finish(): usize {
  out.begin(false);
  current().finish(out);
  return out.lower(0);
}
export function advance(watermark: i64): usize {
  out.begin(false);
  current().advance(watermark, out);
  return out.lower(0);
}
export function save(first: u32, end: u32, count: u32): usize {
  const to = new Save(first, end, count), answer = zeroed(12), groups = take(12 * (end - first));
  current().save(to);
  let saved: u32 = 0;
  for (let group = first; group < end; group++) {
    const entries = to.groups.has(group) ? to.groups.get(group).length : 0;
    if (to.whole.length == 0 && entries == 0) continue;
    const state = take(4 + to.whole.length + entries);
    store<u32>(state, to.whole.length);
    memory.copy(state + 4, to.whole.dataStart, to.whole.length);
    if (entries) memory.copy(state + 4 + to.whole.length, to.groups.get(group).at, entries);
    store<u32>(groups + 12 * saved, group);
    list(groups + 12 * saved++ + 4, state, 4 + to.whole.length + entries);
  }
  list(answer + 4, groups, saved);
  return answer;
}
export function restore(groups: usize, count: u32, version: usize, versionLength: u32, config: usize, configLength: u32): usize {
  const then = String.UTF8.decodeUnsafe(config, configLength), answer = zeroed(12);
  const saved = new Saved(String.UTF8.decodeUnsafe(version, versionLength), new Config(then));
  let why: string | null = differences(new Config(then).members(), new Config(configuration).members());
  for (let i: u32 = 0; why == null && i < count; i++) {
    let at: usize = load<u32>(groups + 12 * i + 4);
    const end = at + load<u32>(groups + 12 * i + 8);
    if (!isWhole(at, end)) { why = "it was saved in another format"; break; }
    saved.whole = bytesAt(at);
    at += 4 + load<u32>(at);
    while (at < end) {
      const key = bytesAt(at);
      at += 4 + key.length;
      const state = bytesAt(at);
      at += 4 + state.length;
      saved.keys.push(new SavedKey(key, state));
    }
  }
  if (why == null) why = current().restore(saved);
  if (why != null) {
    store<u8>(answer, 1);
    text(answer + 4, why);
  }
  return answer;
}
/** Whether a group is what `Save` writes: one part, and then two for each key. */
function isWhole(at: usize, end: usize): bool {
  let parts = 0;
  for (; at < end; parts++) {
    if (end - at < 4 || end - at - 4 < <usize>load<u32>(at)) return false;
    at += 4 + <usize>load<u32>(at);
  }
  return parts % 2 == 1;
}
function bytesAt(at: usize): Uint8Array {
  const bytes = new Uint8Array(load<u32>(at));
  memory.copy(bytes.dataStart, at + 4, bytes.length);
  return bytes;
}
function differences(then: string[], now: string[]): string | null {
  let told = "";
  for (let i = 0; i < then.length + now.length; i += 2) {
    const mine = i < then.length ? then : now, other = i < then.length ? now : then, at = i < then.length ? i : i - then.length;
    let same = false, known = false;
    for (let j = 0; j < other.length; j += 2) {
      if (other[j] != mine[at]) continue;
      known = true;
      same = other[j + 1] == mine[at + 1];
    }
    if (same || (known && i >= then.length)) continue;
    told += (told == "" ? "" : ", ") + "`" + mine[at] + "`";
  }
  return told == "" ? null : "it was made with another configuration; what differs: " + told;
}

// ---- unit tests ----

/** Runs a stage in a test: `pipehost-asc --test`. */
export class Driven {
  /** Why it refuses the configuration; null if it does not. */
  refused: string | null;
  constructor(program: Stage, config: string) {
    register(program);
    configuration = config;
    this.refused = begin(config);
  }
  /** Processes records with these values as one batch. */
  process(values: string[]): void {
    const column = new Changed("");
    for (let i = 0; i < values.length; i++) put(column, i, values[i]);
    const values_ = record.columns[VALUE + 2];
    values_.ends = column.ends.at;
    values_.data = column.data.at;
    out.begin(true);
    for (let row = 0; row < values.length; row++) {
      record.row = out.row = row;
      current().process(record, out);
      out.settle();
    }
  }
  /** How many records were kept or sent on a port. */
  length(port: i32 = 0): u32 { return out.ports[port].parents.count(); }
  /** The value that a record was given; null if it was not changed. */
  changedValue(row: u32, port: i32 = 0): string | null { return out.ports[port].changedValue(row); }
  /** Why a record was rejected; null if it was not. */
  reason(row: u32): string | null {
    for (let i = 0; i < out.rejected.length; i++) if (out.rejected[i].row == row) return out.rejected[i].reason;
    return null;
  }
}
