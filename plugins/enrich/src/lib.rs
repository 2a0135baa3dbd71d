mod table;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Part, Record, Rejection, Setup, Stage};

use table::Table;

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("examples" = [{ "table": "/tables/users.csv", "column": "id", "by": "user" }]))]
pub struct Config {
    /// The file of the table, as the stage sees it: below a folder that `grants.read` gives it.
    table: PathBuf,
    /// How the file is written; without it, its ending says so.
    format: Option<Format>,
    /// The column by which a row is found: each value in it is there once.
    column: String,
    /// What is looked for in this column: `key`, `value`, or an attribute by its name.
    by: Part,
    /// Attributes, and the column of each. Without it, every other column becomes an attribute of
    /// its name.
    attributes: Option<BTreeMap<String, String>>,
    /// What happens to a record for which there is no row.
    #[serde(default)]
    unmatched: Unmatched,
    /// Bytes that the file may have. Reading it costs about a hundred units of fuel each, of
    /// `limits.fuel`, and several times its memory.
    #[serde(default = "max_bytes")]
    max_bytes: u64,
}

fn max_bytes() -> u64 {
    1 << 20
}

#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(crate = "pipehost_plugin::serde", rename_all = "lowercase")]
pub(crate) enum Format {
    /// The first line has the names of the columns.
    Csv,
    /// An array of objects, or objects one behind the other.
    Json,
}

#[derive(Deserialize, JsonSchema, Default, PartialEq, Eq)]
#[serde(crate = "pipehost_plugin::serde", rename_all = "lowercase")]
enum Unmatched {
    /// It goes on as it is.
    #[default]
    Keep,
    /// It is rejected.
    Reject,
}

/// The file is looked at once a second at most, before a batch, and read again when it has
/// changed. One that cannot be read then is told in the log, and the table stays as it was.
pub struct Enrich {
    by: Field,
    table: Watched,
    rejects_unmatched: bool,
}

/// A table, and whether its file has changed.
struct Watched {
    source: Source,
    table: Table,
    read: Stamp,
    looked: Instant,
}

/// What says that a file has changed: its time and its size.
type Stamp = Option<(SystemTime, u64)>;

/// Where the table comes from.
struct Source {
    path: PathBuf,
    format: Format,
    column: String,
    attributes: Option<BTreeMap<String, String>>,
    max_bytes: u64,
}

impl Source {
    fn stamp(&self) -> Stamp {
        let metadata = fs::metadata(&self.path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    }

    fn read(&self) -> Result<Table, Error> {
        let shown = self.path.display();
        let failed = |error: io::Error| {
            format!(
                "cannot read the table {shown}: {error}; grant its folder, as in grants = {{ read \
                     = {{ \"/tables\" = \"tables\" }} }}"
            )
        };
        // It must not use up the fuel or the memory of the stage, which would then be lost.
        let file = File::open(&self.path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let mut bytes = Vec::new();
        if size <= self.max_bytes {
            file.take(self.max_bytes + 1).read_to_end(&mut bytes).map_err(failed)?;
        }
        let size = size.max(bytes.len() as u64);
        if size > self.max_bytes {
            return Err(format!(
                "the table {shown} has {size} bytes, and `max_bytes` is {}: raise it, and with it \
                 `limits.fuel` by a hundred for each byte",
                self.max_bytes
            )
            .into());
        }
        Table::parse(&bytes, self.format, &self.column, self.attributes.as_ref())
            .map_err(|error| format!("the table {shown}: {}", error.message).into())
    }
}

impl Stage for Enrich {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        let Config { table: path, format, column, by, attributes, unmatched, max_bytes } = config;
        let names = attributes.iter().flat_map(BTreeMap::keys);
        if let Some(name) = names.into_iter().find_map(|name| name.strip_prefix("attribute:")) {
            return Err(format!("`attributes` has names of attributes: write `{name}`").into());
        }
        let ending = path.extension().and_then(|ending| ending.to_str());
        let format = match (format, ending) {
            (Some(format), _) => format,
            (None, Some("csv")) => Format::Csv,
            (None, Some("json" | "jsonl" | "ndjson")) => Format::Json,
            (None, _) => {
                return Err("`table` ends neither with .csv nor with .json: set `format`".into());
            }
        };
        let source = Source { path, format, column, attributes, max_bytes };
        let read = source.stamp();
        let table = source.read()?;
        Ok(Self {
            by: setup.part(&by),
            table: Watched { source, table, read, looked: Instant::now() },
            rejects_unmatched: unmatched == Unmatched::Reject,
        })
    }

    fn begin_batch(&mut self) {
        const EVERY: Duration = Duration::from_secs(1);
        if self.table.looked.elapsed() >= EVERY {
            self.table.look();
        }
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let by = record.get(self.by);
        let Some(row) = by.and_then(|by| self.table.table.row(by)) else {
            if self.rejects_unmatched {
                const SHOWN: usize = 60;
                let by = by.unwrap_or_default();
                let shown = String::from_utf8_lossy(&by[..by.len().min(SHOWN)]);
                return Err(format!("the table has no row for {shown:?}").into());
            }
            out.keep();
            return Ok(());
        };
        let mut record = out.keep();
        for (name, text) in self.table.table.attributes(row) {
            record = record.attribute(name, text);
        }
        Ok(())
    }
}

impl Watched {
    /// Reads the table again if its file has changed.
    fn look(&mut self) {
        self.looked = Instant::now();
        let stamp = self.source.stamp();
        if stamp == self.read {
            return;
        }
        self.read = stamp;
        match self.source.read() {
            Ok(table) => self.table = table,
            Err(error) => eprintln!("{}; the table stays as it was", error.message),
        }
    }
}

pipehost_plugin::export!(Enrich);

#[cfg(test)]
mod tests {
    use super::{Enrich, Format, Source, Watched};
    use pipehost_plugin::driver::Opened;
    use pipehost_plugin::serde_json::{Value, json};
    use pipehost_plugin::testing::{record, run};
    use std::fs;
    use std::path::PathBuf;
    use std::time::Instant;

    /// A file in a folder of its own, which is deleted with it.
    struct TestFile(PathBuf);

    impl TestFile {
        fn new(name: &str, text: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("enrich-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), text).unwrap();
            Self(folder.join(name))
        }
    }

    impl Drop for TestFile {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(self.0.parent().unwrap());
        }
    }

    fn config(file: &TestFile, more: Value) -> Value {
        let mut config = json!({ "table": file.0, "column": "id", "by": "key" });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    }

    #[test]
    fn a_row_is_found_by_its_column() {
        let file = TestFile::new(
            "a.csv",
            "\u{feff}id,name,\"full, name\"\n1,Jo,\"Jo \"\"X\"\" Doe\"\n2,,\n",
        );
        let records =
            || [record("a").key("1"), record("b").key("2"), record("c").key("3"), record("d")];
        let [a, b, c, d] = records();
        let out = run::<Enrich>(config(&file, json!({})), records());
        let expected = [
            a.clone().attribute("name", "Jo").attribute("full, name", "Jo \"X\" Doe"),
            b.clone().attribute("name", "").attribute("full, name", ""),
            c.clone(),
            d.clone(),
        ];
        assert_eq!(out.port("out"), expected);
        let some = json!({ "attributes": { "user": "name" }, "unmatched": "reject" });
        let out = run::<Enrich>(config(&file, some), records());
        assert_eq!(out.port("out"), [a.attribute("user", "Jo"), b.attribute("user", "")]);
        assert_eq!(out.rejected[0], (2, "the table has no row for \"3\"".to_owned()));
        assert_eq!(out.rejected[1].0, 3);
    }

    #[test]
    fn a_table_may_be_json() {
        let rows = [r#"{"id":1,"name":"Jo","tags":["a",1.50]}"#, r#"{"name":null,"id":"x y"}"#];
        for text in [format!("[{},\n{}]", rows[0], rows[1]), rows.join("\n")] {
            let file = TestFile::new("b.json", &text);
            let records = [record("a").key("1"), record("b").key("x y")];
            let out = run::<Enrich>(config(&file, json!({})), records.clone());
            let [a, b] = records;
            assert_eq!(
                out.port("out"),
                [a.attribute("name", "Jo").attribute("tags", "[\"a\",1.50]"), b]
            );
        }
    }

    #[test]
    fn a_table_that_changes_is_read_again_and_one_that_is_wrong_is_not_taken() {
        let file = TestFile::new("c.csv", "id,name\n1,old\n");
        let source = Source {
            path: file.0.clone(),
            format: Format::Csv,
            column: "id".into(),
            attributes: None,
            max_bytes: 100,
        };
        let (table, read) = (source.read().unwrap(), source.stamp());
        let mut watched = Watched { source, table, read, looked: Instant::now() };
        let name = |watched: &Watched| {
            let row = watched.table.row(b"1").unwrap();
            let (_, text) = watched.table.attributes(row).next().unwrap();
            String::from_utf8(text.to_vec()).unwrap()
        };
        fs::write(&file.0, "id,name\n1,newer\n").unwrap();
        watched.look();
        assert_eq!(name(&watched), "newer");
        fs::write(&file.0, "id,name\n1,half a li\n2").unwrap();
        watched.look();
        assert_eq!(name(&watched), "newer");
        fs::write(&file.0, format!("id,name\n1,{}\n", "x".repeat(100))).unwrap();
        watched.look();
        assert_eq!(name(&watched), "newer");
        fs::remove_file(&file.0).unwrap();
        watched.look();
        assert_eq!(name(&watched), "newer");
        fs::write(&file.0, "id,name\n1,back\n").unwrap();
        watched.look();
        assert_eq!(name(&watched), "back");
    }

    #[test]
    fn mistakes_in_the_table_and_in_the_configuration_are_told() {
        let told = |text: &str, more: Value| {
            let ending = if text.starts_with(['{', '[']) { "d.json" } else { "d.csv" };
            let file = TestFile::new(ending, text);
            Opened::<Enrich>::open(&config(&file, more).to_string()).err().unwrap().message
        };
        let message = told("id,name\n1,a\n1,b\n", json!({}));
        assert!(message.contains("line 3") && message.contains("\"1\""), "{message}");
        let message = told("number,name\n1,a\n", json!({}));
        assert!(message.contains("no column `id`") && message.contains("`number`"), "{message}");
        let message = told("id,name\n1\n", json!({}));
        assert!(message.contains("line: 2"), "{message}");
        let message = told("", json!({}));
        assert!(message.contains("no column `id`"), "{message}");
        let message = told("id,name,name\n1,a,b\n", json!({}));
        assert!(message.contains("`name` is there twice"), "{message}");
        let message = told("id,name\n1,a\n", json!({ "max_bytes": 11 }));
        assert!(message.contains("12 bytes") && message.contains("raise it"), "{message}");
        let named = json!({ "attributes": { "attribute:value": "name" } });
        assert!(told("id,name\n1,a\n", named).contains("write `value`"));
        let message = told("id,name\n", json!({ "attributes": { "x": "y" } }));
        assert!(message.contains("no column `y`"), "{message}");
        let message = told("[{\"id\":1},5]", json!({}));
        assert!(message.contains("row 2"), "{message}");
        let message = told("[{\"id\":1}", json!({}));
        assert!(message.contains("d.json"), "{message}");
        let missing = json!({ "table": "/no/such.csv", "column": "id", "by": "key" });
        let message = Opened::<Enrich>::open(&missing.to_string()).err().unwrap().message;
        assert!(message.contains("/no/such.csv") && message.contains("grant"), "{message}");
        let missing = json!({ "table": "/no/such.txt", "column": "id", "by": "key" });
        let message = Opened::<Enrich>::open(&missing.to_string()).err().unwrap().message;
        assert!(message.contains("set `format`"), "{message}");
    }
}
