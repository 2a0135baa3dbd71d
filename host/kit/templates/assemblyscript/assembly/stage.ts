// Shouts the lines that have a word in them.
import { Config, Out, Record, Setup, Stage, register } from "@pipehost/plugin-assemblyscript/assembly";
export { cabi_realloc, describe, finish, open, process, release } from "@pipehost/plugin-assemblyscript/assembly";

export class MyStage extends Stage {
  private field: i32 = 0;
  private word: string = "";

  constructor() {
    super("my-stage", "0.1.0", "Shouts the lines that have a word in them", `{
      "properties": {"word": {"type": "string", "minLength": 1, "description": "Lines with this word are changed."}},
      "required": ["word"]
    }`);
  }

  open(config: Config, setup: Setup): string | null {
    this.field = setup.value();
    this.word = config.text("word");
    setup.keepsNothing();
    return null;
  }

  process(record: Record, out: Out): void {
    const line = record.text(this.field);
    if (line == null) return out.reject("it has no value");
    const row = out.keep();
    if (line.includes(this.word)) row.value(line.toUpperCase());
  }
}

register(new MyStage());
