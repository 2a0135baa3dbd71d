// Links a component into another one: it takes the place of an import.
//
// A component is a list of sections, each of which defines things that later ones name by number. The
// import of an interface defines the next instance. Here, a component and an instance of it stand
// in its place, so that the numbers of instances stay. Only those of components move by one.

const IMPORTS = 10;
const INSTANCES = 5;
const COMPONENT = 4;
const SORT_CORE = 0;
const SORT_COMPONENT = 4;

/**
 * @param {Uint8Array} component
 * @param {string} name of the import, an interface
 * @param {Uint8Array} part a component without imports, which exports the functions of the interface
 * @returns {Uint8Array}
 */
export function link(component, name, part) {
  if (component[4] !== 0x0d || component[6] !== 1) throw new Error('it is no component');
  const sections = [component.subarray(0, 8)];
  const add = (id, ...bodies) => {
    const length = bodies.reduce((sum, body) => sum + body.length, 0);
    sections.push(Uint8Array.from([id, ...varint(length)]), ...bodies);
  };
  /** The number of the linked component; those from it on move. */
  let number = null;
  let components = 0;
  const moved = (index) => (number !== null && index >= number ? index + 1 : index);

  const reader = new Reader(component, 8);
  while (reader.at < component.length) {
    const id = reader.byte();
    const body = reader.take(reader.u32());
    if (id === IMPORTS) {
      const { names, imported } = importsOf(body);
      components += imported;
      if (names.includes(name)) {
        if (names.length !== 1) throw new Error(`${name} is imported together with others`);
        number = components;
        add(COMPONENT, part);
        add(INSTANCES, Uint8Array.from([1, 0, ...varint(number), 0]));
        continue;
      }
    }
    if (id === COMPONENT) components++;
    if (id === INSTANCES && number !== null) add(id, Uint8Array.from(renumbered(body, moved)));
    else add(id, body);
  }
  if (number === null) throw new Error(`it does not import ${name}`);
  return concat(sections);
}

function importsOf(body) {
  const reader = new Reader(body);
  const names = [];
  let imported = 0;
  for (let count = reader.u32(); count > 0; count--) {
    if (reader.byte() > 1) throw new Error('it imports something by a name that is not known');
    names.push(reader.name());
    const sort = reader.byte();
    if (sort === SORT_COMPONENT) imported++;
    if (sort === SORT_CORE) reader.byte();
    // A type or a value may be bounded by nothing, and then names no other.
    if ((sort === 2 || sort === 3) && reader.byte() === 1 && sort === 3) continue;
    reader.u32();
  }
  return { names, imported };
}

/** A section of instances, in which the numbers of components have moved. */
function renumbered(body, moved) {
  const reader = new Reader(body);
  const count = reader.u32();
  const bytes = varint(count);
  const copy = (from) => bytes.push(...body.subarray(from, reader.at));
  for (let i = 0; i < count; i++) {
    const kind = reader.byte();
    bytes.push(kind);
    if (kind === 0) bytes.push(...varint(moved(reader.u32())));
    const items = reader.u32();
    bytes.push(...varint(items));
    for (let j = 0; j < items; j++) {
      const from = reader.at;
      if (kind === 1 && reader.byte() > 1) throw new Error('it exports something by a name that is not known');
      reader.name();
      const sort = reader.byte();
      if (sort === SORT_CORE) reader.byte();
      copy(from);
      const index = reader.u32();
      bytes.push(...varint(sort === SORT_COMPONENT ? moved(index) : index));
    }
  }
  if (reader.at !== body.length) throw new Error('a section of instances is not understood');
  return bytes;
}

class Reader {
  constructor(bytes, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  byte() {
    return this.bytes[this.at++];
  }

  u32() {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  }

  take(length) {
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  name() {
    return new TextDecoder().decode(this.take(this.u32()));
  }
}

function varint(value) {
  const bytes = [];
  for (; value >= 0x80; value = Math.floor(value / 128)) bytes.push((value % 128) | 0x80);
  bytes.push(value);
  return bytes;
}

function concat(parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
