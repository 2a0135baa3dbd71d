mod paths;
mod program;
mod rewrite;
mod texts;

use jaq_json::Val;
use pipehost_plugin::json::Members;
use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Part, Record, Rejection, Setup, Stage, parse_rfc3339};
use std::collections::BTreeMap;

use program::Program;

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("examples" = [{ "program": "select(.status >= 500)" }]))]
pub struct Config {
    /// The program, in the language of jq: <https://jqlang.org/manual>.
    program: String,
    /// Variables of the program, and the part of the record that each is: `value`, `key`, or an
    /// attribute by its name. It is a text, or null if the record does not have it.
    #[serde(default)]
    variables: BTreeMap<String, Part>,
    /// Members of an output that become attributes.
    #[serde(default)]
    attributes: Vec<String>,
    /// The member of an output that becomes the key.
    key: Option<String>,
    /// The member of an output that becomes the time, in RFC 3339.
    timestamp: Option<String>,
    /// The member of an output that becomes the value; without it, the output does.
    value: Option<String>,
    /// Whether an output that is a text is written without quotes.
    #[serde(default)]
    raw: bool,
}

/// What the record has beside its value stays, unless a member of the output replaces it. A
/// program without an output drops the record; one with an error rejects it.
pub struct Jq {
    program: Program,
    input: Field,
    variables: Vec<Field>,
    config: Config,
    text: Vec<u8>,
}

impl Stage for Jq {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        let names: Vec<&str> = config.variables.keys().map(String::as_str).collect();
        Ok(Self {
            program: Program::compile(&config.program, &names)?,
            input: setup.value(),
            variables: config.variables.values().map(|part| setup.part(part)).collect(),
            config,
            text: Vec::new(),
        })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let input = record.get(self.input).unwrap_or_default();
        let input = jaq_json::read::parse_single(input)
            .map_err(|why| format!("the value is no JSON: {why}"))?;
        let variables = self.variables.iter().map(|field| match record.get(*field) {
            Some(bytes) => Val::utf8_str(bytes.to_vec()),
            None => Val::Null,
        });
        let (config, text) = (&self.config, &mut self.text);
        self.program.run(input, variables, |output| {
            text.clear();
            let is_raw = config.raw && matches!(output, Val::TStr(_));
            program::write(&output, is_raw, text)?;
            emit(config, is_raw, text, out)
        })
    }
}

/// Emits an output, which is written in JSON unless it is raw.
fn emit(config: &Config, is_raw: bool, text: &[u8], out: &mut Out) -> Result<(), Rejection> {
    let Config { attributes, key, timestamp, value, .. } = config;
    let mut row = out.keep();
    let takes_members =
        !attributes.is_empty() || key.is_some() || timestamp.is_some() || value.is_some();
    if !takes_members {
        row.value(text);
        return Ok(());
    }
    if is_raw || text.first() != Some(&b'{') {
        return Err("the output is no object, so it has no members to take".into());
    }
    let object = Members::parse(text)?;
    let find = |name: &String| match object.get(name) {
        None => Ok(None),
        Some(member) => {
            member.value().map_err(|why| Rejection::new(format!("the member `{name}` is {why}")))
        }
    };
    if let Some(name) = timestamp
        && let Some(time) = find(name)?
    {
        let time = parse_rfc3339(time.as_bytes())
            .map_err(|why| format!("the member `{name}` is {why}: {time:?}"))?;
        row = row.timestamp(time);
    }
    for name in attributes {
        row = match find(name)? {
            Some(member) => row.attribute(name, &*member),
            None => row.remove_attribute(name),
        };
    }
    if let Some(name) = key
        && let Some(member) = find(name)?
    {
        row = row.key(&*member);
    }
    match value {
        None => row.value(text),
        Some(name) => {
            let member = find(name)?.ok_or_else(|| format!("the output has no member `{name}`"))?;
            row.value(&*member)
        }
    };
    Ok(())
}

pipehost_plugin::export!(Jq);

#[cfg(test)]
mod tests {
    use super::Jq;
    use pipehost_plugin::driver::Opened;
    use pipehost_plugin::serde_json::{Value, json};
    use pipehost_plugin::testing::{Outputs, record, run};

    fn jq(program: &str, value: &str) -> Outputs {
        run::<Jq>(json!({ "program": program }), [record(value)])
    }

    #[track_caller]
    fn gives(program: &str, value: &str, outputs: &[&str]) {
        let out = jq(program, value);
        assert!(out.rejected.is_empty(), "{:?}", out.rejected);
        let outputs: Vec<_> = outputs.iter().copied().map(record).collect();
        assert_eq!(out.port("out"), outputs);
    }

    #[track_caller]
    fn rejects(program: &str, value: &str, reason: &str) {
        let out = jq(program, value);
        assert!(out.port("out").is_empty());
        assert!(out.rejected[0].1.contains(reason), "{:?}", out.rejected);
    }

    #[test]
    fn each_output_is_a_record() {
        gives(".items[]", r#"{"items":[1,"a",{"b":null}]}"#, &["1", "\"a\"", r#"{"b":null}"#]);
        gives("select(.level != \"DEBUG\")", r#"{"level":"DEBUG"}"#, &[]);
        gives("del(.password) | .n += 1", r#"{"n": 1, "password": "x"}"#, &[r#"{"n":2}"#]);
        gives(r#"map(test("^a"; "i"))"#, r#"["Ab","ba"]"#, &["[true,false]"]);
        gives(
            ".at | fromdate | todate",
            r#"{"at":"2024-02-29T12:00:00Z"}"#,
            &["\"2024-02-29T12:00:00Z\""],
        );
        // The order of the members stays, and what is not there is no error.
        gives(
            "del(.a, .x.y, .none[0])",
            r#"{"a":1,"b":2,"c":3,"x":{"y":1,"z":2}}"#,
            &[r#"{"b":2,"c":3,"x":{"z":2}}"#],
        );
        gives("del(.[0, 2], .[-1:])", "[1,2,3,4,5]", &["[2,4]"]);
        gives(".a.b = 1 | .n += 1 | .l[1] |= 5", "{}", &[r#"{"a":{"b":1},"n":1,"l":[null,5]}"#]);
        gives(
            ".a[.k] = .k | .x //= .k",
            r#"{"k":"m","a":{}}"#,
            &[r#"{"k":"m","a":{"m":"m"},"x":"m"}"#],
        );
        gives("(.[] | select(. > 1)) |= . / 2", "[1,2,3]", &["[1,1,1.5]"]);
        gives(
            "reduce .[] as $x ({}; .[$x.k].n += $x.n)",
            r#"[{"k":"a","n":1},{"k":"a","n":2}]"#,
            &[r#"{"a":{"n":3}}"#],
        );
        // An index of several outputs, or of none.
        gives(".[\"a\",\"b\"] = 1", "{}", &[r#"{"a":1,"b":1}"#]);
        gives(".[range(3)] |= 7", "[0,0,0]", &["[7,7,7]"]);
        gives(
            ".n[.t[]] += 1",
            r#"{"t":["a","b"],"n":{}}"#,
            &[r#"{"t":["a","b"],"n":{"a":1,"b":1}}"#],
        );
        gives(".n[.t[]] += 1", r#"{"t":[],"n":{}}"#, &[r#"{"t":[],"n":{}}"#]);
        gives(
            ".[.k[]][.l[]] = 0",
            r#"{"k":["m","x"],"l":["a"]}"#,
            &[r#"{"k":["m","x"],"l":["a"],"m":{"a":0},"x":{"a":0}}"#],
        );
        gives("getpath([\"a\",\"b\"]) = 1", "{}", &[r#"{"a":{"b":1}}"#]);
        gives("(if .a then .b.c else .d end) = 1", r#"{"a":1}"#, &[r#"{"a":1,"b":{"c":1}}"#]);
        // All digits stay.
        gives(".", "12345678901234567890123.10", &["12345678901234567890123.10"]);
        gives("nan, infinite", "null", &["null", "1.7976931348623157e308"]);
    }

    #[test]
    fn numbers_are_written_as_jq_does() {
        gives(
            "pow(2;40), (4102444800000/1000), (8000000000*1.5), (-5e9/1)",
            "null",
            &["1099511627776", "4102444800", "12000000000", "-5000000000"],
        );
        gives(
            r#""\(6/2)", (6/2|tojson), ([6/2]|join(",")), ([6/2]|@csv), @text "\(6/2)""#,
            "null",
            &[r#""3""#, r#""3""#, r#""3""#, r#""3""#, r#""3""#],
        );
        gives("5.5 % 2, -5 % 3, .[0] % 2", "[7]", &["1", "-2", "1"]);
        gives(".[] %= 4", "[5.5,3]", &["[1,3]"]);
        rejects("5 % 0.3", "1", "");
    }

    /// What takes the square of their number meets the limits of the stage.
    #[test]
    fn many_values_are_built_one_by_one() {
        let steps = "reduce range(100000) as $i ({}; .[\"k\\($i)\"] = $i) | length";
        gives(steps, "null", &["100000"]);
        gives("reduce range(100000) as $i ([]; .[$i] = $i) | length", "null", &["100000"]);
        gives("[range(100000)] | join(\",\") | length", "null", &["588889"]);
    }

    #[test]
    fn rows_of_tables() {
        gives("@csv", r#"[1,"a\"b",null,true,1.5]"#, &[r#""1,\"a\"\"b\",,true,1.5""#]);
        gives("@tsv", r#"[1,"a\tb\\n",null]"#, &[r#""1\ta\\tb\\\\n\t""#]);
        rejects("@csv", "[[1]]", "no cell of a row");
        gives("INDEX(.id)", r#"[{"id":1},{"id":2}]"#, &[r#"{"1":{"id":1},"2":{"id":2}}"#]);
        gives("map(IN(1,2))", "[1,3]", &["[true,false]"]);
        gives(
            "map(tonumber?), map(fromjson?)",
            r#"["12ms","10.0.0.1","1 2","7"]"#,
            &["[7]", "[7]"],
        );
        gives(".v |= (tonumber? // .)", r#"{"v":"12ms"}"#, &[r#"{"v":"12ms"}"#]);
        gives("@sh", r#"["it's",1]"#, &[r#""'it'\\''s' 1""#]);
    }

    #[test]
    fn errors_are_those_of_the_program() {
        rejects("error(\"no good\")", "1", "no good");
        rejects(".a", "[1]", "cannot index");
        rejects("1, error(\"after an output\")", "1", "after an output");
        rejects(".", "{\"a\":", "the value is no JSON");
        rejects(".", "1 2", "the value is no JSON");
        rejects(".", "", "the value is no JSON");
        rejects("halt", "1", "halt");
        rejects("tobytes", "\"a\"", "which are no JSON");
        rejects("{(1): 2}", "null", "whose name is no text");
        rejects("1 / .", "0", "divide by zero");
        rejects(".n /= 0", "{\"n\":1}", "divide by zero");
    }

    #[test]
    fn members_become_key_time_and_attributes() {
        let config = json!({
            "program": ".[]", "key": "id", "timestamp": "at", "attributes": ["level", "tags"],
        });
        let value =
            r#"[{"id":7,"at":"1970-01-01T00:00:01Z","level":"INFO","tags":["a"]},{"id":8}]"#;
        let given =
            record(value).key("k").timestamp(5).attribute("level", "old").attribute("x", "y");
        let out = run::<Jq>(config, [given]);
        let first = record(r#"{"id":7,"at":"1970-01-01T00:00:01Z","level":"INFO","tags":["a"]}"#)
            .key("7")
            .timestamp(1_000_000_000)
            .attribute("level", "INFO")
            .attribute("x", "y")
            .attribute("tags", r#"["a"]"#);
        let second = record(r#"{"id":8}"#).key("8").timestamp(5).attribute("x", "y");
        assert_eq!(out.port("out"), [first, second]);
        let config = json!({ "program": ".", "value": "text", "attributes": ["n"] });
        let out = run::<Jq>(
            config.clone(),
            [record(r#"{"text":"hi","n":1.50}"#), record("{}"), record("3")],
        );
        assert_eq!(out.port("out"), [record("hi").attribute("n", "1.50")]);
        assert_eq!(out.rejected[0].1, "the output has no member `text`");
        assert!(out.rejected[1].1.contains("no object"));
    }

    #[test]
    fn variables_are_parts_of_the_record_and_texts_may_be_raw() {
        let config = json!({
            "program": r#""\($level) \(.m) \($none)""#, "raw": true,
            "variables": { "level": "level", "none": "key" },
        });
        let out = run::<Jq>(config, [record(r#"{"m":1}"#).attribute("level", "INFO")]);
        assert_eq!(out.port("out"), [record("INFO 1 null").attribute("level", "INFO")]);
    }

    #[test]
    fn mistakes_in_the_program_are_told_with_their_place() {
        let told = |config: Value| Opened::<Jq>::open(&config.to_string()).err().unwrap().message;
        let message = told(json!({ "program": ".a |\n nosuch(.)" }));
        assert!(message.contains("line 2") && message.contains("nosuch"), "{message}");
        let message = told(json!({ "program": "if . then" }));
        assert!(message.contains("line 1"), "{message}");
        let message = told(json!({ "program": "$x" }));
        assert!(message.contains("$x"), "{message}");
        let message = told(json!({ "program": "\"open" }));
        assert!(message.contains("line 1"), "{message}");
        let message = told(json!({ "program": "import \"a\" as a; ." }));
        assert!(message.contains("line 1"), "{message}");
    }

    /// The examples of jq's manual, each a program, an input, and its outputs.
    const MANUAL: &str = include_str!("../../../tests/tables/jq-manual.test");

    /// Programs of the manual that jaq does not run as jq does, each with the reason.
    const OTHERWISE: [(&str, &str); 8] = [
        (
            "map([., . == 1]) | tojson == if have_decnum then \"[[1,true],[1.000,true],[1.0,true],[1.00,true]]\" else \"[[1,true],[1,true],[1,true],[1,true]]\" end",
            "a number stays as it is written: 100e-2",
        ),
        (
            ". as $big | [$big, $big + 1] | map(. > 10000000000000000000000000000000) | . == if have_decnum then [true, false] else [false, false] end",
            "sums of whole numbers are exact",
        ),
        ("try error(\"\\($__loc__)\") catch .", "there is no `$__loc__`"),
        (
            "$ENV.PAGER",
            "there is no `$ENV`: a stage sees the environment that it is granted with `env`",
        ),
        ("env.PAGER", "it is not granted"),
        (
            ".[] as {$a, $b, c: {$d, $e}} ?// {$a, $b, c: [{$d, $e}]} | {$a, $b, $d, $e}",
            "there is no `?//`",
        ),
        (
            ".[] as {$a, $b, c: {$d}} ?// {$a, $b, c: [{$e}]} | {$a, $b, $d, $e}",
            "there is no `?//`",
        ),
        (
            ".[] as [$a] ?// [$b] | if $a != null then error(\"err: \\($a)\") else {$a,$b} end",
            "there is no `?//`",
        ),
    ];

    #[test]
    fn the_examples_of_the_manual_of_jq_do_what_it_says() {
        let (mut right, mut wrong) = (0, Vec::new());
        for example in MANUAL.split("\n\n") {
            let mut lines =
                example.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
            let (Some(program), Some(input)) = (lines.next(), lines.next()) else { continue };
            if OTHERWISE.iter().any(|(other, _)| *other == program) {
                continue;
            }
            let expected: Vec<Value> =
                lines.map(|line| pipehost_plugin::serde_json::from_str(line).unwrap()).collect();
            let found = match Opened::<Jq>::open(&json!({ "program": program }).to_string()) {
                Err(why) => Err(why.message),
                Ok(_) => {
                    let out = jq(program, input);
                    match out.rejected.first() {
                        Some((_, why)) => Err(why.clone()),
                        None => Ok((out.port("out").iter())
                            .map(|row| {
                                pipehost_plugin::serde_json::from_slice(
                                    row.value.as_deref().unwrap(),
                                )
                                .unwrap()
                            })
                            .collect::<Vec<Value>>()),
                    }
                }
            };
            match found {
                Ok(found) if found == expected => right += 1,
                found => wrong.push(format!(
                    "{program}\n  of {input}\n  gives {found:?}\n  and not {expected:?}"
                )),
            }
        }
        assert!(
            wrong.is_empty(),
            "{right} are right, {} are not:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        assert!(right > 200, "{right}");
    }
}
