//! Calls the host without end, in every way that takes or gives bytes: its records say which.

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Record, Rejection, Setup, Stage};
use wasip2::cli::{environment, stdout};
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};
use wasip2::io::poll;
use wasip2::random::{insecure, random};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {}

pub struct HostileGuest {
    value: Field,
}

/// The first folder that was granted.
fn folder() -> wasip2::filesystem::types::Descriptor {
    preopens::get_directories().into_iter().next().expect("a folder is granted").0
}

impl Stage for HostileGuest {
    type Config = Config;

    fn open(_: Config, setup: &mut Setup) -> Result<Self, Error> {
        Ok(Self { value: setup.value() })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let line = String::from_utf8_lossy(record.get(self.value).unwrap_or_default()).into_owned();
        let (verb, object) = line.split_once(' ').unwrap_or((&line, ""));
        let number: usize = object.parse().unwrap_or(0);
        let bytes = vec![b'x'; number];
        let text = "x".repeat(number);
        match verb {
            // Writes this much at once, whatever it is permitted.
            "write" => loop {
                let stream = stdout::get_stdout();
                let _ = stream.check_write();
                let _ = stream.write(&bytes);
            },
            "write-unasked" => loop {
                let _ = stdout::get_stdout().write(&bytes);
            },
            "write-and-flush" => {
                let stream = stdout::get_stdout();
                loop {
                    let _ = stream.blocking_write_and_flush(&bytes);
                }
            }
            "write-zeroes" => {
                let stream = stdout::get_stdout();
                loop {
                    let _ = stream.check_write();
                    let _ = stream.write_zeroes(number as u64);
                }
            }
            "random" => loop {
                std::hint::black_box(random::get_random_bytes(number as u64));
                std::hint::black_box(insecure::get_insecure_random_bytes(number as u64));
            },
            "clock" => loop {
                std::hint::black_box((monotonic_clock::now(), wall_clock::now()));
            },
            "environment" => loop {
                std::hint::black_box((
                    environment::get_environment(),
                    environment::get_arguments(),
                ));
            },
            "poll" => {
                let stream = stdout::get_stdout();
                let ready = stream.subscribe();
                let list: Vec<_> = std::iter::repeat_n(&ready, number.max(1)).collect();
                loop {
                    std::hint::black_box(poll::poll(&list));
                }
            }
            "subscribe" => loop {
                let stream = stdout::get_stdout();
                drop(stream.subscribe());
            },
            "preopens" => loop {
                drop(preopens::get_directories());
            },
            // These need a folder.
            "stat" => {
                let folder = folder();
                loop {
                    let _ = folder.stat_at(PathFlags::empty(), &text);
                }
            }
            "open" => {
                let folder = folder();
                let flags = DescriptorFlags::READ;
                loop {
                    let _ = folder.open_at(PathFlags::empty(), &text, OpenFlags::empty(), flags);
                }
            }
            "list" => {
                let folder = folder();
                loop {
                    let Ok(entries) = folder.read_directory() else { continue };
                    while let Ok(Some(_)) = entries.read_directory_entry() {}
                }
            }
            // Holds so many listings of the folder at once, or has them one after the other.
            "hold-listings" => {
                let folder = folder();
                std::hint::black_box(
                    (0..number).map(|_| folder.read_directory()).collect::<Vec<_>>(),
                );
            }
            "drop-listings" => {
                let folder = folder();
                (0..number).for_each(|_| drop(folder.read_directory()));
            }
            "read" => {
                let how = PathFlags::SYMLINK_FOLLOW;
                let opened =
                    folder().open_at(how, "file", OpenFlags::empty(), DescriptorFlags::READ);
                let file = opened.map_err(|code| Rejection::new(code.name()))?;
                loop {
                    let _ = file.read(number as u64, 0);
                    let stream = file.read_via_stream(0).expect("it is a file");
                    let _ = stream.blocking_read(number as u64);
                }
            }
            "fifo" => {
                let flags = DescriptorFlags::READ;
                let how = PathFlags::SYMLINK_FOLLOW;
                let opened = folder().open_at(how, "fifo", OpenFlags::empty(), flags);
                return Err(Rejection::new(opened.map_or_else(|code| code.name(), |_| "opened")));
            }
            // Writes a file until it may not; says how much it could write.
            "fill" => {
                let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
                let opened = folder().open_at(PathFlags::empty(), "big", OpenFlags::CREATE, flags);
                let file = opened.map_err(|code| Rejection::new(code.name()))?;
                let mut written = 0;
                let refused = loop {
                    match file.write(&[b'x'; 4096], written) {
                        Ok(more) => written += more,
                        Err(code) => break code.name().to_owned(),
                    }
                };
                let stream =
                    file.append_via_stream().map_err(|code| Rejection::new(code.name()))?;
                let appended = stream.blocking_write_and_flush(&[b'x'; 4096]).is_ok();
                let grown = file.set_size(1 << 40).is_ok();
                out.keep().value(format!("{written} {refused} {appended} {grown}"));
                return Ok(());
            }
            // Fills a file and removes it, but holds it open; says whether there is room for
            // another, however long it tries, and whether there is once the first is closed.
            "fill-and-remove" => {
                let folder = folder();
                let make = |name| {
                    let flags = DescriptorFlags::WRITE;
                    let opened = folder.open_at(PathFlags::empty(), name, OpenFlags::CREATE, flags);
                    opened.map_err(|code| Rejection::new(code.name()))
                };
                let (first, second) = (make("first")?, make("second")?);
                let mut written = 0;
                while let Ok(more) = first.write(&[b'x'; 4096], written) {
                    written += more;
                }
                folder.unlink_file_at("first").map_err(|code| Rejection::new(code.name()))?;
                let until = monotonic_clock::now() + 200_000_000;
                let mut held = false;
                while !held && monotonic_clock::now() < until {
                    held = second.write(&[b'x'; 4096], 0).is_ok();
                }
                drop(first);
                while second.write(&[b'x'; 4096], 0).is_err() {}
                out.keep().value(format!("{written} {held} true"));
                return Ok(());
            }
            "many-files" => {
                let folder = folder();
                let mut made = 0;
                let refused = loop {
                    let (name, flags) = (format!("f{made}"), DescriptorFlags::WRITE);
                    match folder.open_at(PathFlags::empty(), &name, OpenFlags::CREATE, flags) {
                        Ok(_) => made += 1,
                        Err(code) => break code.name().to_owned(),
                    }
                };
                let linked = folder.symlink_at("f0", "link").is_ok();
                let folders = folder.create_directory_at("folder").is_ok();
                out.keep().value(format!("{made} {refused} {linked} {folders}"));
                return Ok(());
            }
            "link" => {
                let (name, to) = object.split_once(' ').unwrap_or((object, ""));
                let linked = folder().symlink_at(to, name);
                let said = linked.map_or_else(|code| code.name().to_owned(), |()| "linked".into());
                out.keep().value(said);
                return Ok(());
            }
            _ => {}
        }
        out.keep();
        Ok(())
    }
}

pipehost_plugin::export!(HostileGuest);
