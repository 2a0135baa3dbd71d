//! What became of the cases, for the author.

use pipehost_record::foreign::Foreign;

/// A line for each case, and how many passed.
pub(super) struct Report {
    width: usize,
    passed: usize,
    failed: usize,
    text: String,
}

impl Report {
    /// For cases of these names.
    pub(super) fn new(names: impl Iterator<Item = String>) -> Self {
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
        Self { width, passed: 0, failed: 0, text: String::new() }
    }

    pub(super) fn passed(&mut self, name: &str, how: &str) {
        self.passed += 1;
        self.line(name, &format!("ok      {how}"));
    }

    pub(super) fn written(&mut self, name: &str) {
        self.passed += 1;
        self.line(name, "written");
    }

    pub(super) fn failed(&mut self, name: &str, complaint: &str) {
        self.failed += 1;
        self.line(name, "FAILED");
        for line in complaint.lines() {
            self.text.push_str(&format!("    {}\n", Foreign::new(line).whole()));
        }
    }

    fn line(&mut self, name: &str, what: &str) {
        let (width, name) = (self.width, Foreign::new(name).to_string());
        self.text.push_str(&format!("{name:<width$}  {what}\n"));
    }

    /// The text, and the exit code.
    pub(super) fn end(mut self) -> (String, u8) {
        let Self { passed, failed, .. } = self;
        self.text.push_str(&format!("\n{passed} passed, {failed} failed\n"));
        (self.text, u8::from(failed > 0))
    }
}

pub(super) fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}
