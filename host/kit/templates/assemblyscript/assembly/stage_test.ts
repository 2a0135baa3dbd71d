// Each function returns what is wrong; an empty text if nothing is.
import { Driven } from "@pipehost/plugin-assemblyscript/assembly";
import { MyStage } from "./stage";

export function testLinesWithTheWordAreShouted(): string {
  const stage = new Driven(new MyStage(), '{"word": "error"}');
  stage.process(["an error", "fine"]);
  if (stage.length() != 2) return "there are " + stage.length().toString() + " records";
  if (stage.changedValue(0) != "AN ERROR") return "the first line is not shouted";
  if (stage.changedValue(1) != null) return "the second line is changed";
  return "";
}
