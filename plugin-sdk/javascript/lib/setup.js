// What a stage declares when it opens.

import { Field } from './input.js';

/** A port: only `Setup` makes one. */
export class Port {
  constructor(index, name) {
    this.index = index;
    this.name = name;
  }
}

/** An input that the stage tells from the others: only `Setup` makes one. */
export class Input {
  constructor(index, name) {
    this.index = index;
    this.name = name;
  }
}

/** The timestamps of the records: only `Setup` makes one. */
export class Time {
  constructor() {
    this.times = null;
  }
}

export class Setup {
  constructor() {
    this.fields = [];
    this.attributes = [];
    this.times = null;
    this.ports = [new Port(0, 'out')];
    this.inputs = [];
    this.keeps = { tag: 'anything' };
    this.closed = false;
  }

  value() {
    return this.column('value', null);
  }

  key() {
    return this.column('key', null);
  }

  attribute(name) {
    return this.column('attribute', text(name, 'the name of an attribute'));
  }

  attributeOrKey(name) {
    return name == null ? this.key() : this.attribute(name);
  }

  timestamp() {
    this.check();
    this.times ??= new Time();
    return this.times;
  }

  input(name) {
    this.check();
    return named(this.inputs, Input, text(name, 'the name of an input'));
  }

  port(name) {
    this.check();
    return named(this.ports, Port, text(name, 'the name of a port'));
  }

  renameDefaultPort(name) {
    this.check();
    this.ports[0].name = text(name, 'the name of a port');
  }

  keepsNothing() {
    this.check();
    this.keeps = { tag: 'nothing' };
  }

  keepsByKey(field) {
    this.check();
    if (!this.fields.includes(field)) throw new TypeError('keepsByKey takes a field of this setup');
    this.keeps = { tag: 'by-key', val: field.target() };
  }

  column(what, name) {
    this.check();
    const found = this.fields.find((field) => field.what === what && field.name === name);
    if (found !== undefined) return found;
    const field = new Field(what, name);
    this.fields.push(field);
    if (what === 'attribute') this.attributes.push(field);
    return field;
  }

  check() {
    if (this.closed) throw new Error('what a stage reads and writes is declared in `open`');
  }

  /** The contract's `plan`. Nothing can be declared any more. */
  plan() {
    this.closed = true;
    const reads = (what) => this.fields.some((field) => field.what === what);
    return {
      reads: {
        timestamps: this.times !== null,
        key: reads('key'),
        value: reads('value'),
        attributes: this.attributes.map((field) => field.name),
      },
      ports: this.ports.map((port) => port.name),
      inputs: this.inputs.map((input) => input.name),
      keeps: this.keeps,
    };
  }
}

function named(list, Type, name) {
  let found = list.find((one) => one.name === name);
  if (found === undefined) {
    found = new Type(list.length, name);
    list.push(found);
  }
  return found;
}

function text(name, what) {
  if (typeof name !== 'string') throw new TypeError(`${what} must be a string`);
  return name.toWellFormed();
}
