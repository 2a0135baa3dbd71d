// Does what tests/conformance/README.md says.
import { Bytes, Config, NO_TIME, Out, Record, Save, Saved, Setup, Stage, register } from "@pipehost/plugin-assemblyscript/assembly";
export { advance, cabi_realloc, describe, finish, open, process, release, restore, save } from "@pipehost/plugin-assemblyscript/assembly";

class Conformance extends Stage {
  mode: string = "";
  longNumber: i64 = 0;
  key: i32 = 0;
  value: i32 = 0;
  verb: i32 = 0;
  arg: i32 = 0;
  extra: i32 = 0;
  other: i32 = 0;
  left: i32 = 0;
  count: u64 = 0;
  /** By the key's bytes, each as a character. */
  counts: Map<string, u64> = new Map();

  open(config: Config, setup: Setup): string | null {
    if (config.has("refuse")) return config.text("refuse");
    this.mode = config.has("mode") ? config.text("mode") : "commands";
    this.longNumber = config.int("long_number");
    if (this.mode == "count-by-key") {
      this.key = setup.key();
      setup.keepsByKey(this.key);
    } else if (this.mode == "inputs") {
      setup.keepsNothing();
      this.left = setup.input("left");
      setup.input("right");
    } else if (this.mode == "commands") {
      setup.keepsNothing();
      setup.timestamp();
      this.key = setup.key();
      this.value = setup.value();
      this.verb = setup.attribute("do");
      this.arg = setup.attribute("arg");
      this.extra = setup.attribute("extra");
      this.other = setup.port("other");
    }
    return null;
  }

  process(record: Record, out: Out): void {
    if (this.mode == "count") {
      out.keep().attribute("count", (++this.count).toString());
    } else if (this.mode == "count-by-key") {
      const key = characters(record.bytes(this.key));
      const count = (this.counts.has(key) ? this.counts.get(key) : 0) + 1;
      this.counts.set(key, count);
      out.keep().attribute("count", count.toString());
    } else if (this.mode == "inputs") {
      out.keep().attribute("from", record.isFrom(this.left) ? "left" : "right");
    } else this.command(record, out);
  }

  command(record: Record, out: Out): void {
    const given = record.text(this.verb), what = given == null ? "keep" : given;
    const text = record.text(this.arg), arg = text == null ? "" : text;
    if (what == "keep") out.keep();
    else if (what == "drop") return;
    else if (what == "twice") {
      out.keep();
      out.keep().value(arg);
    } else if (what == "echo") {
      const row = out.keep(), value = record.bytes(this.value);
      if (value.given) row.valueBytes(value.at, value.length);
      const extra = record.bytes(this.extra);
      if (extra.given) row.attributeBytes("extra", extra.at, extra.length);
    } else if (what == "upper") {
      const line = record.text(this.value);
      out.keep().value(line == null ? "" : line.toUpperCase());
    } else if (what == "value") out.keep().value(arg);
    else if (what == "key") out.keep().key(arg);
    else if (what == "attribute") out.keep().attribute("made", arg);
    else if (what == "remove") out.keep().removeAttribute("extra");
    else if (what == "time") out.keep().time(I64.parseInt(arg));
    else if (what == "later") {
      const row = out.keep();
      if (record.time() != NO_TIME) row.time(record.time() + 1000000000);
    } else if (what == "tell-time") out.keep().value(record.time() == NO_TIME ? "none" : record.time().toString());
    else if (what == "number") out.keep().value(this.longNumber.toString());
    else if (what == "other") out.send(this.other);
    else if (what == "both") {
      out.keep();
      out.send(this.other).value(arg);
    } else if (what == "create") out.create().value(arg);
    else if (what == "create-other") {
      out.keep();
      out.createOn(this.other).key(arg).attribute("made", arg).time(1);
    } else {
      if (what == "keep-throw") out.keep().value("lost");
      out.reject(arg, what == "retry");
    }
  }

  finish(out: Out): void {
    if (this.mode == "count") out.create().value(this.count.toString() + " at the end");
  }

  advance(watermark: i64, out: Out): void {
    if (this.mode != "count") return;
    out.create().value(this.count.toString() + " until " + watermark.toString());
    this.count = 0;
  }

  save(to: Save): void {
    if (this.mode == "count") to.put(number(this.count));
    const keys = this.counts.keys();
    for (let i = 0; i < keys.length; i++) to.putKey(bytesOf(keys[i]), number(this.counts.get(keys[i])));
  }

  restore(saved: Saved): string | null {
    const whole = saved.whole;
    if (whole != null && whole.length == 8) this.count = load<u64>(whole.dataStart);
    for (let i = 0; i < saved.keys.length; i++) {
      const entry = saved.keys[i], key = new Bytes();
      key.at = entry.key.dataStart;
      key.length = entry.key.length;
      this.counts.set(characters(key), load<u64>(entry.state.dataStart));
      heap.free(changetype<usize>(key));
    }
    return null;
  }
}

function characters(bytes: Bytes): string {
  let text = "";
  for (let i = 0; i < bytes.length; i++) text += String.fromCharCode(load<u8>(bytes.at + i));
  return text;
}
function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = <u8>text.charCodeAt(i);
  return bytes;
}
function number(n: u64): Uint8Array {
  const bytes = new Uint8Array(8);
  store<u64>(bytes.dataStart, n);
  return bytes;
}

register(new Conformance("conformance", "0.1.0", "Does what the conformance cases ask for", `{
  "properties": {
    "mode": {"enum": ["commands", "count", "count-by-key", "inputs"]},
    "long_number": {"type": "integer"},
    "refuse": {"type": "string"}
  }
}`));
