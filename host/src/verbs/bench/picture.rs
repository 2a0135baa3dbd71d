//! A picture of the results: a bar for the median of each kind, a dot for each round.

use std::fmt::Write as _;

use super::report::{Figures, Report};

const WIDTH: f64 = 640.0;
const LEFT: f64 = 110.0;
const BAR: f64 = 28.0;
const GAP: f64 = 12.0;

/// As SVG, which browsers and READMEs show.
pub(super) fn svg(report: &Report) -> String {
    let mut kinds = vec![("sandboxed", &report.sandboxed, "#3b6fb6")];
    kinds.extend(report.native.as_ref().map(|native| ("native", native, "#8a8a8a")));
    let height = 90.0 + kinds.len() as f64 * (BAR + GAP);
    let longest = kinds.iter().flat_map(|(_, figures, _)| &figures.walls).copied();
    let longest = longest.fold(1e-9, f64::max);
    let scale = (WIDTH - LEFT - 90.0) / longest;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"16\" y=\"28\" font-size=\"16\">{}</text>\n",
        escaped(&format!("{}: wall time, {} rounds", report.pipeline, report.rounds))
    );
    for (index, (name, figures, color)) in kinds.into_iter().enumerate() {
        let top = 48.0 + index as f64 * (BAR + GAP);
        bar(&mut out, name, figures, color, top, scale);
    }
    let ratio = report.ratio.as_ref().map_or(String::new(), |ratio| {
        format!("sandboxed : native {:.2} wall, {:.2} CPU; ", ratio.wall, ratio.cpu)
    });
    let text = format!("{ratio}the same measured twice {:.2}", report.control.wall);
    let _ =
        writeln!(out, "<text x=\"16\" y=\"{}\">{}</text>\n</svg>", height - 16.0, escaped(&text));
    out
}

fn bar(out: &mut String, name: &str, figures: &Figures, color: &str, top: f64, scale: f64) {
    let (width, middle) = (figures.wall * scale, top + BAR / 2.0);
    let _ = writeln!(
        out,
        "<text x=\"16\" y=\"{:.1}\">{name}</text>\n\
         <rect x=\"{LEFT}\" y=\"{top}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{color}\"/>",
        middle + 4.0
    );
    for wall in &figures.walls {
        let x = LEFT + wall * scale;
        let _ = writeln!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{middle}\" r=\"3\" fill=\"black\" opacity=\"0.5\"/>"
        );
    }
    let longest = figures.walls.iter().copied().fold(figures.wall, f64::max) * scale;
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\">{:.3} s</text>",
        LEFT + longest + 8.0,
        middle + 4.0,
        figures.wall
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
