//! The file sink: writes one file, or one file per value of a key or attribute.

mod file;
mod names;

use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::connector::{Resume, SinkConnector, SinkError, Synced};
use crate::file::WrittenFiles;
use file::{GoOn, Layout, New, SinkFile, SinkPosition, Temporaries};
use names::{divide, make_folder};
use pipehost_config::FileSink as Config;
use pipehost_files::folder::{self, kept};
use pipehost_files::paths;
use pipehost_files::rename::{Rename, cannot_write, in_the_way};
use pipehost_record::{Batch, Rejected};

pub struct FileSink {
    config: Arc<Config>,
    /// The path, or what it leads to if it is a link.
    target: PathBuf,
    written: WrittenFiles,
    /// What to do before the first write.
    plan: Option<Plan>,
    /// `None` while a write is in progress.
    files: Option<Files>,
}

/// What to do before the first write; nothing is changed until then.
enum Plan {
    New,
    /// Resume these files.
    GoOn(Vec<(PathBuf, GoOn)>),
}

/// The files of a sink, by path.
struct Files {
    open: BTreeMap<PathBuf, SinkFile>,
    /// Positions of files that were missing when the sink opened: they may come back.
    gone: BTreeMap<PathBuf, SinkPosition>,
    /// Set if files are truncated to the last checkpoint after a crash.
    keeping: Option<Keeping>,
}

/// What truncating files to a checkpoint needs.
struct Keeping {
    tag: String,
    temporaries: Temporaries,
    /// When a run began with an empty state, in nanoseconds since the Unix epoch: older files are
    /// replaced. `None` if the sink was added to an existing state.
    began: Option<i64>,
}

impl Keeping {
    /// Whether a file was last changed before `began`, so that it may be replaced.
    fn replaces(&self, path: &Path) -> bool {
        let changed = |metadata: fs::Metadata| {
            metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec())
        };
        let changed = fs::symlink_metadata(path).map(changed);
        self.began.is_some_and(|began| changed.is_ok_and(|changed| changed < began))
    }
}

/// The saved positions of all files.
#[derive(Debug, Serialize, Deserialize)]
struct Positions {
    /// Part of the temporary file names.
    tag: String,
    began: Option<i64>,
    /// By path, relative to the folder of the pipeline.
    files: BTreeMap<PathBuf, SinkPosition>,
}

/// How many files a saved position has, and their bytes.
///
/// # Errors
/// If it is no position of a file sink.
pub fn written_extent(position: &Value) -> Result<(usize, u64)> {
    let Positions { files, .. } = serde_json::from_value(position.clone())?;
    Ok((files.len(), files.values().map(|file| file.mark.length).sum()))
}

/// The most files that a sink writes, one per value in its path: the values that a stage makes up
/// must not create files without end.
const MOST_FILES: usize = 1000;

impl FileSink {
    /// Checks whether the file can be written, and changes nothing.
    pub(crate) fn open(
        config: &Config,
        resume: &Resume<'_>,
        written: WrittenFiles,
    ) -> Result<Self> {
        let is_divided = config.partition.is_some();
        let mut target = config.path.value.clone();
        if !is_divided && target.is_symlink() {
            target = paths::resolve(&target); // Keep the link, write its target.
        }
        let path = &target;
        if !is_divided {
            if !folder::of(path).is_dir() {
                let folder = folder::of(path).display();
                bail!("cannot write {}: the folder {folder} does not exist", path.display());
            }
            if path.is_dir() {
                bail!("cannot write {}: it is a folder", path.display());
            }
            // A source must not read a file that grows in place, from now on.
            let grows = config.append || !matches!(resume, Resume::NotAtAll);
            if grows
                && path.is_file()
                && let Ok(file) = fs::File::open(path)
            {
                written.note(&file);
            }
        }
        let mut files = Files { open: BTreeMap::new(), gone: BTreeMap::new(), keeping: None };
        let keeping = |tag: String, began| {
            let temporaries = Temporaries::new(&tag);
            Keeping { tag, temporaries, began }
        };
        let mut plan = Plan::New;
        match resume {
            Resume::NotAtAll => {}
            Resume::New { first } => {
                let is_empty = fs::metadata(path).map_or(true, |m| !m.is_file() || m.len() == 0);
                if !is_divided && !first && !config.append && !is_empty {
                    bail!(
                        "will not write {} anew: the state does not know this sink, and there is \
                         something in the file. Move it away, or say `append = true`",
                        path.display()
                    );
                }
                let began = first.then(pipehost_record::time::now);
                files.keeping = Some(keeping(format!("{:016x}", fastrand::u64(..)), began));
            }
            Resume::FromPosition(position) => {
                let positions: Positions = serde_json::from_value((*position).clone())
                    .context("the state does not know where it ended")?;
                let keeping = keeping(positions.tag, positions.began);
                let mut known = Vec::new();
                for (kept, position) in positions.files {
                    let path = match is_divided {
                        true => config.base.join(kept),
                        false => target.clone(),
                    };
                    let is_there = || {
                        let folder = folder::of(&path).to_owned();
                        path.exists() || position.own_in(&folder)
                    };
                    if is_divided && !is_there() {
                        tracing::warn!(
                            "{} is gone: if it stays so, it is begun anew",
                            path.display()
                        );
                        files.gone.insert(path, position); // Taken away after it was complete.
                        continue;
                    }
                    let go_on = GoOn::check(
                        &path,
                        &position,
                        keeping.replaces(&path),
                        &Layout::new(config),
                    )?;
                    let path = if is_divided { path } else { config.path.value.clone() };
                    known.push((path, go_on));
                }
                files.keeping = Some(keeping);
                plan = Plan::GoOn(known);
            }
        }
        let config = Arc::new(config.clone());
        Ok(Self { config, target, written, plan: Some(plan), files: Some(files) })
    }

    /// Creates the file, or resumes it.
    fn begin_files(&mut self) -> Result<()> {
        let files = self.files.as_mut().expect("nothing is written yet");
        let (path, layout) = (&self.target, &Layout::new(&self.config));
        match self.plan.take() {
            None => {}
            Some(Plan::GoOn(known)) => {
                let keeping = files.keeping.as_ref().expect("there is a position");
                let of_cut: Vec<OsString> =
                    known.iter().flat_map(|(_, go_on)| go_on.temporaries()).collect();
                let template = self.config.partition.as_ref().map(|_| path.as_path());
                for folder in folders(path, template) {
                    let removed = keeping.temporaries.remove_others(&folder, &of_cut);
                    removed.map_err(|error| cannot_write(&folder, &error))?;
                }
                for (path, go_on) in known {
                    let file = go_on.begin(layout, &keeping.temporaries, &self.written)?;
                    files.open.insert(path, file);
                }
            }
            Some(Plan::New) if self.config.partition.is_some() => {}
            Some(Plan::New) => {
                let new = match &files.keeping {
                    None => complete_or_append(path, &self.config, &self.written),
                    Some(Keeping { temporaries, .. }) => {
                        New::Checkpointed { temporaries, appends: self.config.append }
                    }
                };
                let file = SinkFile::new(path, new, layout, &self.written)?;
                files.open.insert(self.config.path.value.clone(), file);
            }
        }
        Ok(())
    }

    async fn write_batch(&mut self, batch: &Batch) -> Result<()> {
        let batch = batch.clone();
        let (config, written) = (self.config.clone(), self.written.clone());
        // Encodes on the blocking thread too: a batch can become much text.
        self.blocking(move |files| {
            let Some(partition) = &config.partition else {
                let path = &config.path.value;
                let file = files.open.get_mut(path).expect("it was begun");
                return write(file, path, &config, &batch, &written);
            };
            for (path, rows) in divide(partition, &batch) {
                if !files.open.contains_key(&path) {
                    let file = files.begin(&path, &config, &written)?;
                    files.open.insert(path.clone(), file);
                }
                let file = files.open.get_mut(&path).expect("it was just made");
                write(file, &path, &config, &batch.pick(Arc::new(rows)), &written)?;
            }
            Ok(())
        })
        .await
    }

    /// Makes the written records durable, and reports where the files end.
    async fn sync_files(&mut self) -> Result<Synced> {
        let base = self.config.base.clone();
        self.blocking(move |files| files.sync(&base, false)).await
    }

    async fn finish_files(mut self) -> Result<Synced> {
        let base = self.config.base.clone();
        let synced = self.blocking(move |files| files.sync(&base, true)).await?;
        let files = self.files.expect("nothing is under way");
        files.open.into_values().try_for_each(SinkFile::finish)?;
        Ok(synced)
    }

    async fn blocking<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Files) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let mut files = self.files.take().expect("one write at a time");
        let work = tokio::task::spawn_blocking(move || {
            let result = work(&mut files);
            (files, result)
        });
        let (files, result) = work.await.expect("writing does not panic");
        self.files = Some(files);
        result
    }
}

impl SinkConnector for FileSink {
    async fn write(&mut self, batch: &Batch, _: bool) -> Result<Vec<Rejected>, SinkError> {
        self.write_batch(batch).await.map_err(SinkError::Failed)?;
        Ok(Vec::new())
    }

    fn begin(&mut self) -> Result<()> {
        self.begin_files()
    }

    async fn sync(&mut self) -> Result<Synced> {
        self.sync_files().await
    }

    async fn finish(self) -> Result<Synced> {
        self.finish_files().await
    }
}

fn write(
    file: &mut SinkFile,
    path: &Path,
    config: &Config,
    batch: &Batch,
    written: &WrittenFiles,
) -> Result<()> {
    pipehost_codec::encode_pieces(&config.encoding, batch, |piece| file.write(piece, written))
        .map_err(|error| cannot_write(path, &error))
}

/// How to begin a file without a state. One that this run has completed already, in another
/// pipeline that was replaced, is added to.
fn complete_or_append(path: &Path, config: &Config, written: &WrittenFiles) -> New<'static> {
    match config.append || written.is_at(path) {
        true => New::Append,
        false => New::Complete,
    }
}

impl Files {
    /// Begins a file whose name comes from records.
    fn begin(&mut self, path: &Path, config: &Config, written: &WrittenFiles) -> Result<SinkFile> {
        if self.open.len() >= MOST_FILES {
            let path = config.path.value.display();
            bail!("{path} makes more than {MOST_FILES} files");
        }
        make_folder(&config.path.value, path)?;
        let layout = Layout::new(config);
        let Some(keeping) = &self.keeping else {
            let new = complete_or_append(path, config, written);
            return SinkFile::new(path, new, &layout, written);
        };
        let temporaries = &keeping.temporaries;
        if let Some(position) = self.gone.remove(path).filter(|_| path.exists()) {
            let go_on = GoOn::check(path, &position, keeping.replaces(path), &layout)?;
            return go_on.begin(&layout, temporaries, written);
        }
        if path.symlink_metadata().is_ok() && !keeping.replaces(path) {
            return Err(in_the_way(path));
        }
        SinkFile::new(path, New::KeptUnnamed { temporaries }, &layout, written)
    }

    fn sync(&mut self, base: &Path, last: bool) -> Result<Synced> {
        let Some(keeping) = &self.keeping else {
            for (path, file) in &mut self.open {
                file.sync().map_err(|error| cannot_write(path, &error))?;
            }
            return Ok(Synced::default());
        };
        let mut names: Vec<Rename> = Vec::new();
        let kept = |path: &Path| kept(base, path);
        let mut files: BTreeMap<PathBuf, SinkPosition> =
            self.gone.iter().map(|(path, position)| (kept(path), position.clone())).collect();
        let mut is_stream = false;
        for (path, file) in &mut self.open {
            let checkpoint =
                file.sync().and_then(|()| file.checkpoint(keeping.replaces(path), last));
            match checkpoint.map_err(|error| cannot_write(path, &error))? {
                None => is_stream = true,
                Some((position, renames)) => {
                    files.insert(kept(path), position);
                    names.extend(renames);
                }
            }
        }
        if is_stream && files.is_empty() {
            return Ok(Synced::default()); // A stream cannot be truncated.
        }
        let positions = |files| {
            let positions = Positions { tag: keeping.tag.clone(), began: keeping.began, files };
            serde_json::to_value(positions)
        };
        let settled = match names.is_empty() {
            true => None,
            false => {
                let settled = files.iter().map(|(path, p)| (path.clone(), p.clone().settled()));
                Some(positions(settled.collect())?)
            }
        };
        Ok(Synced { position: Some(positions(files)?), names, settled })
    }
}

/// The folders that may hold temporary files of a sink; for a template, all below its fixed part.
fn folders(path: &Path, template: Option<&Path>) -> Vec<PathBuf> {
    let Some(template) = template else { return vec![folder::of(path).to_owned()] };
    let (fixed, _) = paths::fixed_before(template, &['{']);
    let below = template.components().count().saturating_sub(fixed.components().count() + 1);
    let mut found = Vec::new();
    let mut level = vec![fixed];
    for _ in 0..=below {
        let children = |folder: &PathBuf| -> io::Result<Vec<PathBuf>> {
            let entries = fs::read_dir(folder)?.flatten();
            let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|t| t.is_dir());
            Ok(entries.filter(is_folder).map(|entry| entry.path()).collect())
        };
        let next = level.iter().flat_map(children).flatten().collect();
        found.extend(std::mem::replace(&mut level, next));
    }
    found.retain(|folder| folder.is_dir());
    found
}
