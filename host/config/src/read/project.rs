//! From TOML to a project.

use std::path::PathBuf;

use super::table::{self, TableReader};
use crate::mistake::Mistake;
use crate::project::{Project, Tool};

/// Reads a `pipehost.toml`. `None` without a `[build]`; mistakes are collected.
pub fn read_project(text: &str) -> (Option<Project>, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    let document = table::document(text, &mut mistakes);
    let mut root = TableReader::new("pipehost.toml", document.get_ref(), None, &mut mistakes);
    let project = root.table("build", "`[build]`", build);
    root.finish();
    (project.flatten(), mistakes)
}

fn build(mut table: TableReader<'_>) -> Option<Project> {
    let command = table.required("command", "the command that builds the stage, in its folder");
    let output = table.required("output", "the .wasm that the command makes");
    let tools = (table.map("tools").into_iter())
        .map(|(name, install)| Tool { name, install: install.value })
        .collect();
    if let Some(output) = &output
        && (output.value.starts_with('/') || output.value.split('/').any(|part| part == ".."))
    {
        let message = "`output` lies in the folder of the stage, and its path begins there";
        table.mistake(Mistake::new(output.span.clone(), message));
    }
    table.finish();
    Some(Project { command: command?.value, output: PathBuf::from(output?.value), tools })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_has_a_command_an_output_and_tools() {
        let (project, mistakes) = read_project(
            "[build]\ncommand = \"make\"\noutput = \"a.wasm\"\ntools = { make = \"apt install make\" }",
        );
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let tools = vec![Tool { name: "make".into(), install: "apt install make".into() }];
        let wanted = Project { command: "make".into(), output: "a.wasm".into(), tools };
        assert_eq!(project, Some(wanted));
        assert_eq!(read_project("").0, None);
    }

    #[test]
    fn mistakes_are_told() {
        let (_, mistakes) = read_project("[build]\noutput = \"../a.wasm\"\ntool = 1\n[bild]\n");
        let told: Vec<_> = mistakes.iter().map(|mistake| &*mistake.message).collect();
        for part in ["needs `command`", "lies in the folder", "`tool`", "`bild`"] {
            assert!(told.iter().any(|message| message.contains(part)), "{part}: {told:?}");
        }
    }
}
