//! `pipehost dev`.

use anyhow::anyhow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use super::run;
use crate::error::Error;
use crate::load::{Development, PipelineArgs};
use pipehost_observe::log::stderr;
use pipehost_sandbox::plugin::{self, Snapshot};

pub const ABOUT: &str = "\
Build a stage at each change, and replace it in a pipeline that runs.

The pipeline has a stage whose `plugin` is the folder. Without --pipeline, the stage stands between
stdin and stdout. What the stage is given and what it makes of it is shown on stderr, a few records a
second. A build that fails is shown, and the stage goes on as it was; so it does if the new one
refuses the configuration or the state.

    pipehost dev my-stage --pipeline pipeline.toml

    pipehost dev my-stage --set my-stage.word=error";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of the stage.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The pipeline that runs; it is read again when it changes.
    #[arg(long, value_name = "PIPELINE.toml")]
    pipeline: Option<PathBuf>,
    /// Set a member of a stage's configuration: a TOML value, otherwise a text.
    #[arg(long = "set", value_name = "STAGE.NAME=VALUE")]
    set: Vec<String>,
    /// Grant something to a stage, as with `pipehost run`.
    #[arg(long = "grant", value_name = "STAGE.GRANT=VALUE")]
    grant: Vec<String>,
}

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_millis(200);

pub fn dev(args: Args) -> Result<u8, Error> {
    let folder = args.folder.canonicalize().map_err(|error| {
        Error::Usage(anyhow!("there is no folder {}: {error}", args.folder.display()))
    })?;
    let watched = Watched { folder: folder.clone(), pipeline: args.pipeline.clone() };
    // What changes while it is built is built afterwards.
    let mut before = watched.look();
    while let Err(why) = plugin::build(&folder, &mut |line| stderr::say(line)) {
        stderr::say(&Error::Failed(why).text());
        stderr::say("waiting for a change");
        before = watched.change(before);
    }
    let (changed, changes) = mpsc::channel(1);
    let mut built = before.contents();
    std::thread::spawn(move || {
        loop {
            before = watched.change(before.clone());
            // Some builds write beside the sources.
            let contents = before.contents();
            if contents == built {
                continue;
            }
            built = contents;
            match plugin::build(&watched.folder, &mut |line| stderr::say(line)) {
                Ok(_) => {
                    if changed.blocking_send("the source has changed").is_err() {
                        return;
                    }
                }
                Err(why) => {
                    stderr::say(&Error::Failed(why).text());
                    stderr::say("the stage goes on as it was");
                }
            }
        }
    });
    let pipeline = PipelineArgs::for_development(
        args.pipeline,
        args.folder,
        args.set,
        args.grant,
        Development::new(folder),
    );
    run::run(run::Args::of(pipeline), Some(changes))
}

/// What is built again when it changes.
struct Watched {
    folder: PathBuf,
    pipeline: Option<PathBuf>,
}

impl Watched {
    fn look(&self) -> Snapshot {
        let files = self.pipeline.as_deref().into_iter().map(Path::to_owned);
        Snapshot::of(&self.folder, files)
    }

    /// Waits until something differs from how it was, and has stayed the same for one look: an
    /// editor may write several files.
    fn change(&self, before: Snapshot) -> Snapshot {
        let mut last = before.clone();
        loop {
            std::thread::sleep(LOOK);
            let now = self.look();
            if now != before && now == last {
                return now;
            }
            last = now;
        }
    }
}
