//! However a stream is divided into batches and over workers, and whatever fails on the
//! way: the same records come out, in the same order, and the same ones are refused.

use proptest::prelude::*;

use crate::harness::{Case, Letter, Pipeline, guest, letters};

#[derive(Debug, Clone)]
struct Division {
    source: usize,
    batch: Option<usize>,
    /// `None`: as many lanes as there are cores.
    workers: Option<usize>,
    partition: bool,
    queue: usize,
}

fn division() -> impl Strategy<Value = Division> {
    let workers = prop::option::of(1..5usize);
    (1..50usize, prop::option::of(1..50usize), workers, any::<bool>(), 1..4usize).prop_map(
        |(source, batch, workers, partition, queue)| Division {
            source,
            batch,
            workers,
            partition: partition && workers.is_some_and(|workers| workers > 1),
            queue,
        },
    )
}

/// Integers are doubled; of the rest, what begins with `P` kills its instance, and what
/// does not is rejected.
fn run(lines: &[String], division: &Division) -> (String, Vec<Letter>) {
    let Division { source, batch, workers, partition, queue } = division;
    let mut settings = format!("queue = {queue}\non_error = \"dead-letter\"\n");
    if let Some(workers) = workers {
        settings += &format!("workers = {workers}\n");
    }
    if *partition {
        settings += "partition = \"key\"\n";
    }
    if let Some(records) = batch {
        settings += &format!("batch = {{ records = {records}, linger = \"1h\" }}\n");
    }
    let codec = r#"codec = { type = "json", key = "key", value = "value" }"#;
    let batch = format!("batch = {{ records = {source} }}");
    let pipeline = Pipeline::with(r#"dead_letters = "dead""#)
        .source("in", "file", &format!("paths = \"in\"\n{codec}\n{batch}"))
        .stage("poison", "poison.wat", &settings)
        .stage("double", "double", &settings)
        .stage("upper", "to-upper", &settings)
        .sink("out", "stdout", "");
    let input: String = (lines.iter().enumerate())
        .map(|(n, line)| format!("{{\"key\":\"{}\",\"value\":\"{line}\"}}\n", n % 5))
        .collect();
    let case = Case::new()
        .file("pipeline.toml", pipeline.to_string())
        .file("poison.wat", guest("poison"))
        .file("in", input);
    let ran = case.pipeline().ok();
    let mut letters = letters(&case, "dead");
    letters.sort_by_key(|letter| letter.number);
    (ran.stdout, letters)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_division_yields_the_records_of_the_straight_run(
        lines in prop::collection::vec("[0-9]{1,3}|[0-9]{1,3}|P[a-z]|[a-z]", 0..100),
        division in division(),
    ) {
        let straight = Division { source: 4096, batch: None, workers: Some(1), partition: false, queue: 8 };
        let (expected, refused) = run(&lines, &straight);
        let doubled: String = lines.iter()
            .filter_map(|line| line.parse::<u32>().ok())
            .map(|number| format!("{}\n", number * 2))
            .collect();
        prop_assert_eq!(&expected, &doubled);
        prop_assert_eq!(refused.len(), lines.len() - doubled.lines().count());
        prop_assert_eq!(run(&lines, &division), (expected, refused));
    }
}
