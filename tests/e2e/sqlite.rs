//! An embedded database, read and written.

use rusqlite::Connection;

use crate::harness::Case;

fn pipeline(source: &str, sink: &str) -> Case {
    Case::new().file(
        "pipeline.toml",
        format!(
            "[pipeline]\nstate = \"state\"\n[[source]]\nname = \"in\"\n{source}\n\
             [[sink]]\nname = \"out\"\ninput = \"in\"\n{sink}\n"
        ),
    )
}

const TABLE: &str = "type = \"sqlite\"\npath = \"in.db\"\ntable = \"events\"";
const STDOUT: &str = "type = \"stdout\"\ncodec = \"json\"";

fn database(case: &Case) -> Connection {
    let connection = Connection::open(case.path("in.db")).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, level TEXT, n REAL, raw BLOB);
             INSERT INTO events (level, n, raw) VALUES ('INFO', 1.5, NULL), (NULL, 2, x'ff');",
        )
        .unwrap();
    connection
}

#[test]
fn rows_are_read_in_order_and_a_second_run_takes_what_was_added() {
    let case = pipeline(&format!("{TABLE}\nkey = \"id\"\nvalue = \"level\""), STDOUT);
    let connection = database(&case);
    case.pipeline().ok().prints(
        "{\"key\":\"1\",\"value\":\"INFO\",\"attributes\":{\"n\":\"1.5\"}}\n\
         {\"key\":\"2\",\"attributes\":{\"n\":\"2\",\"raw\":{\"base64\":\"/w==\"}}}\n",
    );
    case.pipeline().ok().prints("");
    connection.execute("INSERT INTO events (level) VALUES ('WARN')", []).unwrap();
    case.pipeline().ok().prints("{\"key\":\"3\",\"value\":\"WARN\"}\n");
}

#[test]
fn many_rows_are_read_and_few_at_a_time() {
    let source = format!("{TABLE}\nattributes = []\nvalue = \"id\"\nbatch = {{ records = 7 }}");
    let case = pipeline(&source, "type = \"stdout\"");
    let connection = database(&case);
    connection
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2998)
             INSERT INTO events (level) SELECT 'x' FROM n",
        )
        .unwrap();
    let expected: String = (1..=3000).map(|n| format!("{n}\n")).collect();
    case.pipeline().ok().prints(&expected);
}

#[test]
fn what_is_wrong_with_a_source_is_said() {
    let run = |source: &str| {
        let case = pipeline(source, STDOUT);
        database(&case);
        case.pipeline().code(1)
    };
    let case = pipeline("type = \"sqlite\"\npath = \"none.db\"\ntable = \"x\"", STDOUT);
    case.pipeline().code(2).says("there is no database none.db");
    run("type = \"sqlite\"\npath = \"in.db\"\ntable = \"none\"").says("no such table: none");
    run(&format!("{TABLE}\nvalue = \"text\"\norder_by = \"at\""))
        .says("has no column `text`, `at`; it has `id`, `level`, `n`, `raw`");
    run(&format!("{TABLE}\norder_by = \"n\"")).says("must hold whole numbers (order_by)");
}

#[test]
fn rows_that_could_be_missed_are_a_mistake() {
    let run = |row: &str| {
        let case = pipeline(&format!("{TABLE}\norder_by = \"number\""), STDOUT);
        let connection = database(&case);
        let table = "ALTER TABLE events ADD COLUMN number INTEGER; UPDATE events SET number = id;";
        connection.execute_batch(&format!("{table} INSERT INTO events (number) {row}")).unwrap();
        case.pipeline()
    };
    run("VALUES (3)").ok();
    run("VALUES (NULL)").code(1).says("has rows without `number`, which would not be read");
    run("VALUES (2)")
        .code(1)
        .says("2 is there twice in the column that it is ordered by, which must be unique");
    // Also where a batch of rows that are read ends between the two.
    run("WITH RECURSIVE n(i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
         SELECT i FROM n UNION ALL SELECT 1000")
    .code(1)
    .says("1000 is there twice");
}

const LINES: &str = "type = \"file\"\npaths = \"in.json\"\n\
                     codec = { type = \"json\", attributes = [\"level\"], value = \"v\", key = \"id\" }";

fn rows(case: &Case, query: &str) -> Vec<String> {
    let connection = Connection::open(case.path("out.db")).unwrap();
    let mut statement = connection.prepare(query).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn records_become_rows() {
    let sink = "type = \"sqlite\"\npath = \"out.db\"\ntable = \"logs\"\n\
                columns = { id = \"key\", level = \"level\", text = \"value\", at = \"timestamp\" }";
    let case = pipeline(LINES, sink)
        .file("in.json", "{\"id\":1,\"level\":\"INFO\",\"v\":\"it's\"}\n{\"id\":2,\"v\":\"b\"}\n");
    case.pipeline().ok();
    let found = rows(
        &case,
        "SELECT id || '|' || coalesce(level, 'none') || '|' || text || '|' || (at IS NULL) FROM logs",
    );
    assert_eq!(found, ["1|INFO|it's|1", "2|none|b|1"]);
}

#[test]
fn rows_that_are_there_already_fail_or_not_as_the_pipeline_says() {
    let input = "{\"id\":1,\"v\":\"new\"}\n{\"id\":2,\"v\":\"b\"}\n";
    let run = |on_conflict: &str| {
        let sink = format!(
            "type = \"sqlite\"\npath = \"out.db\"\ntable = \"logs\"\n\
             columns = {{ id = \"key\", v = \"value\" }}\n{on_conflict}"
        );
        let case = pipeline(LINES, &sink).file("in.json", input);
        Connection::open(case.path("out.db"))
            .unwrap()
            .execute_batch(
                "CREATE TABLE logs (id PRIMARY KEY, v); INSERT INTO logs VALUES ('1', 'old')",
            )
            .unwrap();
        (case.pipeline(), rows(&case, "SELECT v FROM logs ORDER BY id"))
    };
    let (ran, found) = run("");
    ran.code(1).says("UNIQUE constraint failed: logs.id");
    assert_eq!(found, ["old"], "a batch is inserted whole or not at all");
    let (ran, found) = run("on_conflict = \"ignore\"");
    ran.ok();
    assert_eq!(found, ["old", "b"]);
    let (ran, found) = run("on_conflict = \"replace\"");
    ran.ok();
    assert_eq!(found, ["new", "b"]);
}
