//! `pipehost top`.

mod screen;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::anyhow;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::widgets::Paragraph;

use crate::control::{Which, step_back};
use crate::error::{Error, print};
use crate::runtime::one_thread;
use screen::Screen;

pub const ABOUT: &str = "\
Show what a pipeline that runs does now: the rates of its nodes, how far they are behind, what they
wait for, and which one holds the others up.

Without a terminal, and with --once, it is shown once, as text.

LAG is what a source has not read of its files (bytes) or of its table (rows). BEHIND is how old the
last record is that passed, by its timestamp. BUSY is the part of the time in which a node keeps
others waiting: it works, waits to try again, or is held to its rate.";

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// How often to look.
    #[arg(long, value_name = "1s", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Show it once, after one interval, and end.
    #[arg(long)]
    once: bool,
}

/// An interval that is neither a burden nor for ever.
fn interval(text: &str) -> anyhow::Result<Duration> {
    let interval = pipehost_config::quantity::duration(text)?;
    let (least, most) = (Duration::from_millis(10), Duration::from_secs(3600));
    if !(least..=most).contains(&interval) {
        anyhow::bail!("an interval is from 10ms to 1h");
    }
    Ok(interval)
}

pub fn top(args: &Args) -> Result<u8, Error> {
    step_back();
    let runtime = one_thread()?;
    let client = runtime.block_on(args.which.find())?;
    let look = || runtime.block_on(client.status());
    let mut before = look()?;
    if args.once || !io::stdout().is_terminal() {
        std::thread::sleep(args.interval);
        let width = match io::stdout().is_terminal() {
            true => ratatui::crossterm::terminal::size().map_or(WIDE, |(width, _)| width),
            false => WIDE,
        };
        return print(Screen::of(&before, &look()?, width.into()).text().as_bytes());
    }
    let mut terminal = ratatui::init();
    let ended = (|| {
        loop {
            if is_quit(args.interval)? {
                return Ok(());
            }
            let now = match look() {
                Ok(now) => now,
                Err(error) => return Err(anyhow!("the run has ended, or {}", error.reason())),
            };
            terminal.draw(|frame| {
                let screen = Screen::of(&before, &now, frame.area().width.into());
                frame.render_widget(Paragraph::new(screen.styled()), frame.area());
            })?;
            before = now;
        }
    })();
    ratatui::restore();
    ended.map(|()| 0).map_err(Error::Failed)
}

/// The width where there is no terminal.
const WIDE: u16 = 120;

/// Waits for the next look. Whether a key ends it.
fn is_quit(interval: Duration) -> anyhow::Result<bool> {
    let until = std::time::Instant::now() + interval;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        if !event::poll(left)? {
            return Ok(false);
        }
        match event::read()? {
            Event::Key(key) if key.kind == KeyEventKind::Press => {
                let is_interrupt =
                    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                if is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                    return Ok(true);
                }
            }
            Event::Resize(..) => return Ok(false),
            _ => {}
        }
    }
}
