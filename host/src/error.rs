//! Why a command failed, and how that is reported.

use anyhow::anyhow;
use std::io::{self, Write as _};
use std::process::ExitCode;

use pipehost_observe::log::{secrets, stderr};
use pipehost_record::foreign::Foreign;

/// Why a command failed.
#[derive(Debug)]
pub enum Error {
    /// Mistakes of the user; already rendered, printed as they are.
    Mistakes(String),
    Usage(anyhow::Error),
    Failed(anyhow::Error),
    /// Nothing reads stdout any more.
    ClosedPipe,
}

impl Error {
    /// The error of a write to stdout.
    pub fn stdout(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Failed(anyhow!("cannot write to stdout: {error}")),
        }
    }

    /// Prints the error, and returns the exit code.
    pub fn report(self) -> ExitCode {
        if !matches!(self, Self::ClosedPipe) {
            stderr::fail(&self.text());
        }
        ExitCode::from(self.code())
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::ClosedPipe => 0,
            Self::Mistakes(_) | Self::Usage(_) => 2,
            Self::Failed(_) => 1,
        }
    }

    /// What is wrong, to be told in another error.
    pub fn reason(&self) -> String {
        match self {
            Self::ClosedPipe => String::new(),
            Self::Mistakes(text) => text.clone(),
            Self::Usage(why) | Self::Failed(why) => format!("{why:#}"),
        }
    }

    /// What is printed of it.
    pub fn text(&self) -> String {
        match self {
            Self::ClosedPipe => String::new(),
            Self::Mistakes(text) => text.clone(),
            Self::Usage(text) | Self::Failed(text) => line(text),
        }
    }
}

fn line(error: &anyhow::Error) -> String {
    let style = anstyle::Style::new().bold().fg_color(Some(anstyle::AnsiColor::BrightRed.into()));
    format!("{style}error{style:#}: {}", Foreign::new(&format!("{error:#}")).whole().lines())
}

/// Prints to stdout without secrets, and returns the exit code.
pub fn print(bytes: &[u8]) -> Result<u8, Error> {
    let mut stdout = io::stdout().lock();
    let masked = std::str::from_utf8(bytes).map(secrets::masked);
    let bytes = masked.as_ref().map_or(bytes, |text| text.as_bytes());
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Error::stdout)?;
    Ok(0)
}
