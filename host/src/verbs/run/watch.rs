//! `--watch`: the pipeline is read again when its file or one of its components has changed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::load;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// What says that a file has changed: its time, its size, and which file it is.
type Stamp = Option<(SystemTime, u64, u64)>;

/// Says it to `changed` each time that something has changed, and has stayed the same for one look:
/// an editor may write several files. Ends when nobody listens any more.
pub(super) fn watch(pipeline: PathBuf, changed: mpsc::Sender<&'static str>) {
    let (mut files, mut before) = look_anew(&pipeline);
    let mut last = before.clone();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(LOOK);
            let now = look(&files);
            if now != before && now == last {
                // One that waits already is enough.
                if let Err(TrySendError::Closed(_)) = changed.try_send("a file has changed") {
                    return;
                }
                (files, before) = look_anew(&pipeline);
                last = before.clone();
            } else {
                last = now;
            }
            if changed.is_closed() {
                return;
            }
        }
    });
}

/// The file of a pipeline and the components that it names now, and how they are.
fn look_anew(pipeline: &Path) -> (Vec<PathBuf>, Vec<Stamp>) {
    let mut files = vec![pipeline.to_owned()];
    // What it named before a mistake was made in it is of no use.
    if let Ok(loaded) = load::file(pipeline) {
        let plugins = loaded.config.stages.iter().map(|stage| &stage.plugin.value);
        files.extend(
            plugins.filter(|plugin| plugin.path.is_file()).map(|plugin| plugin.path.clone()),
        );
    }
    let stamps = look(&files);
    (files, stamps)
}

fn look(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    };
    files.iter().map(stamp).collect()
}
