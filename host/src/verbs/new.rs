//! `pipehost new`.

use std::path::{Path, PathBuf};

use crate::error::{Error, print};
use pipehost_kit::templates::{self, Language};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name of the stage: a-z, 0-9 and `-`. A folder with this name is made, unless --in names
    /// another one.
    name: String,
    /// The language that it is written in.
    #[arg(long, value_enum)]
    lang: Lang,
    /// The folder to make.
    #[arg(long = "in", value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Lang {
    Rust,
    Python,
    #[value(name = "javascript")]
    JavaScript,
    #[value(name = "typescript")]
    TypeScript,
    Go,
    C,
    Zig,
    #[value(name = "assemblyscript")]
    AssemblyScript,
}

impl From<Lang> for Language {
    fn from(lang: Lang) -> Self {
        match lang {
            Lang::Rust => Self::Rust,
            Lang::Python => Self::Python,
            Lang::JavaScript => Self::JavaScript,
            Lang::TypeScript => Self::TypeScript,
            Lang::Go => Self::Go,
            Lang::C => Self::C,
            Lang::Zig => Self::Zig,
            Lang::AssemblyScript => Self::AssemblyScript,
        }
    }
}

pub fn new(args: &Args) -> Result<u8, Error> {
    let folder = args.folder.as_deref().unwrap_or(Path::new(&args.name));
    let files = templates::make(folder, &args.name, args.lang.into()).map_err(Error::Usage)?;
    let mut text = format!("made {}:\n", folder.display());
    for file in files {
        text.push_str(&format!("  {file}\n"));
    }
    text.push_str(&format!(
        "its README.md says what is where. Try it:\n  pipehost test {}\n",
        folder.display()
    ));
    print(text.as_bytes())
}
