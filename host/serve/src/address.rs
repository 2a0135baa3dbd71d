//! Where a control interface is, and which ones there are on this machine.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, anyhow, bail};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{getuid, umask};

use pipehost_http::Listener;

/// The address of a control interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl FromStr for Address {
    type Err = String;

    /// `ADDRESS:PORT`, or the path of a Unix socket, with `unix:` before it or not.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        match text.parse() {
            Ok(address) => Ok(Self::Tcp(address)),
            Err(_) if text.contains('/') || text.ends_with(".sock") => Ok(Self::Unix(text.into())),
            Err(_) => Err("write the path of a Unix socket (./x.sock), or ADDRESS:PORT".to_owned()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

/// A listener; the file of a Unix socket is removed when this is dropped.
#[derive(Debug)]
pub struct Bound {
    pub address: Address,
    file: Option<PathBuf>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = fs::remove_file(file); // Somebody may have removed it.
        }
    }
}

impl Address {
    /// Listens there. A socket that a killed process has left is replaced.
    ///
    /// # Errors
    /// If somebody else listens there, or it is no place to listen.
    pub fn bind(&self) -> Result<(Listener, Bound)> {
        let cannot = |error: io::Error| anyhow!("cannot listen at {self}: {error}");
        match self {
            Self::Tcp(address) => {
                let listener = TcpListener::bind(address).map_err(cannot)?;
                let address = Self::Tcp(listener.local_addr().map_err(cannot)?);
                Ok((Listener::Tcp(listener), Bound { address, file: None }))
            }
            Self::Unix(path) => {
                remove_if_left(path)?;
                let listener = bind_for_us(path).map_err(cannot)?;
                let bound = Bound { address: self.clone(), file: Some(path.clone()) };
                Ok((Listener::Unix(listener), bound))
            }
        }
    }
}

/// Makes a socket that only this user can connect to, from its first moment on. At the start of a
/// process: the umask is that of all its threads.
fn bind_for_us(path: &Path) -> io::Result<UnixListener> {
    let before = umask(Mode::RWXG | Mode::RWXO);
    let listener = UnixListener::bind(path);
    umask(before);
    let listener = listener?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Removes a socket that nobody listens at.
fn remove_if_left(path: &Path) -> Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        bail!("cannot listen at {}: there is a file that is no socket", path.display());
    }
    match is_listened_at(path) {
        Ok(true) => bail!("cannot listen at {}: another process listens there", path.display()),
        Ok(false) => {
            let removed = fs::remove_file(path);
            removed.map_err(|error| anyhow!("cannot remove {}: {error}", path.display()))
        }
        Err(error) => bail!("cannot listen at {}: {error}", path.display()),
    }
}

/// Whether a process listens at a socket. It never waits: the queue of a process that accepts
/// nothing may be full.
fn is_listened_at(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The folder of the sockets that no address was given for.
fn usual_folder() -> PathBuf {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = of("RUNTIME_DIRECTORY") {
        // systemd separates several by colons.
        let folders = folder.to_string_lossy().into_owned();
        return folders.split(':').next().unwrap_or_default().into();
    }
    match of("XDG_RUNTIME_DIR") {
        Some(folder) => Path::new(&folder).join("pipehost"),
        None => PathBuf::from(format!("/tmp/pipehost-{}", getuid().as_raw())),
    }
}

/// The address of this process, if none is given: `PROCESS.sock` in `$RUNTIME_DIRECTORY`,
/// `$XDG_RUNTIME_DIR/pipehost` or `/tmp/pipehost-USER`.
///
/// # Errors
/// If that folder cannot be made, or belongs to somebody else.
pub fn usual() -> Result<Address> {
    let folder = usual_folder();
    let cannot = |error: io::Error| anyhow!("cannot use {}: {error}", folder.display());
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(cannot(error)),
        _ => {}
    }
    if !is_ours(&folder) {
        bail!("cannot use {}: it is not this user's own folder", folder.display());
    }
    Ok(Address::Unix(folder.join(format!("{}.sock", std::process::id()))))
}

/// Whether a folder belongs to this user: in /tmp, somebody else may have made it first.
fn is_ours(folder: &Path) -> bool {
    let metadata = fs::symlink_metadata(folder);
    metadata.is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == getuid().as_raw())
}

/// The addresses of the runs of this user, and, for root, of services. Sockets that killed
/// processes have left are removed.
pub fn running() -> Vec<Address> {
    let mut folders: Vec<PathBuf> = vec![usual_folder()];
    folders.retain(|folder| is_ours(folder));
    if getuid().is_root() {
        // systemd makes these for the users of the services.
        let services = fs::read_dir("/run/pipehost").into_iter().flatten().flatten();
        let folder = |entry: fs::DirEntry| entry.file_type().ok()?.is_dir().then(|| entry.path());
        folders.extend(services.filter_map(folder));
    }
    let mut found = Vec::new();
    for entry in folders.iter().flat_map(fs::read_dir).flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "sock") {
            continue;
        }
        match is_listened_at(&path) {
            Ok(true) => found.push(Address::Unix(path)),
            Ok(false) => {
                let _ = fs::remove_file(&path); // It may be gone already.
            }
            Err(_) => {}
        }
    }
    found.sort_by_key(|address| address.to_string());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_accepts_nothing_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let dial = || {
            let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
            let socket = socket_with(family, kind, SocketFlags::NONBLOCK, None).unwrap();
            connect(&socket, &SocketAddrUnix::new(&path).unwrap()).map(|()| socket)
        };
        let mut queue = Vec::new();
        while let Ok(socket) = dial() {
            queue.push(socket);
        }
        assert_eq!(dial().unwrap_err(), Errno::AGAIN, "its queue is full");
        assert!(is_listened_at(&path).unwrap());
        drop((listener, queue));
        assert!(!is_listened_at(&path).unwrap(), "it has ended");
    }

    #[test]
    fn an_address_is_a_path_or_has_a_port() {
        let unix = |path: &str| Ok(Address::Unix(path.into()));
        assert_eq!("/run/x".parse(), unix("/run/x"));
        assert_eq!("x.sock".parse(), unix("x.sock"));
        assert_eq!("unix:x".parse(), unix("x"));
        assert_eq!("127.0.0.1:80".parse(), Ok(Address::Tcp("127.0.0.1:80".parse().unwrap())));
        for wrong in ["", "x", "localhost", "80", "unix:"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}
