//! Mistakes in a configuration, and how they are shown: file, line, caret, help.

use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::secret;
use pipehost_record::foreign::{self, Foreign};

/// A range of bytes in the text of a configuration. `None` for what was given on the command line.
pub type Span = Option<Range<usize>>;

/// The line and the column of a byte of a text, from 1; columns are counted in characters.
pub fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let mut end = at.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // A byte order mark is no character of the first line.
    let mark = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let before = &text[mark.min(end)..end];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// A value, and its span.
#[derive(Debug, Clone)]
pub struct At<T> {
    pub value: T,
    pub span: Span,
}

/// Where a value is written makes no difference.
impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for At<T> {}

impl<T> At<T> {
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }

    /// A value without a span.
    pub fn nowhere(value: T) -> Self {
        Self { value, span: None }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub message: String,
    pub span: Span,
    /// How to correct it.
    pub help: Option<String>,
}

impl Mistake {
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self { message: message.into(), span, help: None }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Suggests the name that `wrong` was probably meant to be.
    pub fn did_you_mean<'a>(self, wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Self {
        let closest = (names.into_iter())
            .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
            .min_by_key(|(distance, _)| *distance);
        match closest {
            Some((distance, name)) if distance <= 1 + wrong.len() / 4 => {
                self.help(format!("did you mean `{name}`?"))
            }
            _ => self,
        }
    }
}

/// Shows mistakes in the order of the text, each with its line.
pub fn render(mistakes: &[Mistake], path: &Path, text: &str, color: bool) -> String {
    render_as(Level::ERROR, mistakes, path, text, color)
}

/// The same of what is probably not meant.
pub fn render_warnings(warnings: &[Mistake], path: &Path, text: &str, color: bool) -> String {
    render_as(Level::WARNING, warnings, path, text, color)
}

fn render_as(
    level: Level<'_>,
    mistakes: &[Mistake],
    path: &Path,
    text: &str,
    color: bool,
) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let path = Foreign::new(&path.display().to_string()).to_string();
    let text = &*secret::masked(&foreign::in_place(text));
    let mut sorted: Vec<_> = mistakes.iter().collect();
    sorted.sort_by_key(|mistake| mistake.span.as_ref().map(|span| (span.start, span.end)));
    let mut out = String::new();
    for mistake in sorted {
        let message = secret::in_urls(&mistake.message);
        let message = Foreign::new(&message).whole().lines().to_string();
        let title = level.clone().primary_title(message);
        let mut group = annotate_snippets::Group::with_title(title);
        if let Some(span) = &mistake.span {
            let end = span.end.min(text.len());
            let annotation = AnnotationKind::Primary.span(span.start.min(end)..end);
            group = group.element(Snippet::source(text).path(&path).annotation(annotation));
        }
        if let Some(help) = &mistake.help {
            let help = Foreign::new(help).lines().to_string();
            group = group.element(Level::HELP.message(help));
        }
        out.push_str(&renderer.render(&[group]));
        out.push_str("\n\n");
    }
    out
}
