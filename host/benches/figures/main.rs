//! The figures that the project promises. `cargo bench` takes all, `cargo bench -- crossing`
//! those of one part.
//!
//! Each line has a figure or the ratio of two things, and the bound that it is to keep.

mod article;
mod codecs;
mod crossing;
mod graph;
mod harness;
mod hostile;
mod loading;
mod whole;

use tokio::runtime::Runtime;

fn main() {
    // `cargo test` runs benchmarks too, to see that they build; there is nothing to see.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let wanted: Vec<_> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let runtime = Runtime::new().expect("a runtime");
    type Figures = fn(&Runtime);
    let parts: [(&str, Figures); 7] = [
        ("crossing", crossing::figures),
        ("codecs", codecs::figures),
        ("graph", graph::figures),
        ("loading", loading::figures),
        ("whole", whole::figures),
        ("article", |_| article::figures()),
        ("hostile", hostile::figures),
    ];
    println!("{:<64} {:>8} {:>10}", "", "", "bound");
    for (name, figures) in parts {
        if wanted.is_empty() || wanted.iter().any(|part| part == name) {
            println!("{name}");
            figures(&runtime);
        }
    }
}
