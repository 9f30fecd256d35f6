//! Where text goes: results to standard output, notes and errors to standard error, a progress bar only where a person
//! watches. A reader that has left is no error.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use passes::run::Report;

use crate::compile::{self, Watch};
use crate::error::{self, Error, Result};
use crate::table::{Json, Table};

#[derive(clap::Args)]
pub struct Flags {
    /// Say more: passes, times, the memory plan
    #[arg(short, long, global = true, conflicts_with = "quiet", display_order = 1000)]
    verbose: bool,
    /// Say nothing but results and errors
    #[arg(short, long, global = true, display_order = 1001)]
    quiet: bool,
    /// When to color; NO_COLOR in the environment means never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", display_order = 1002)]
    color: Color,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

pub struct Console {
    pub verbose: bool,
    pub quiet: bool,
    color: bool,
    /// Why a result could not be written, the first time.
    lost: Mutex<Option<std::io::Error>>,
}

impl Console {
    pub fn new(flags: &Flags) -> Console {
        let wished = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let color = match flags.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => wished && std::io::stderr().is_terminal(),
        };
        Console { verbose: flags.verbose, quiet: flags.quiet, color, lost: Mutex::new(None) }
    }

    /// A result, as it is. That it was lost is told by `finish`.
    pub fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        if let Err(why) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
            && let Ok(mut lost) = self.lost.lock()
        {
            lost.get_or_insert(why);
        }
    }

    /// Fault: a result could not be written, and not because its reader has left.
    pub fn finish(&self) -> Result<()> {
        match self.lost.lock().ok().and_then(|mut lost| lost.take()) {
            Some(why) => unwritten(&why),
            None => Ok(()),
        }
    }

    /// A result as a table, or as JSON.
    pub fn table(&self, table: &Table, json: bool) {
        if json { self.json(&table.json()) } else { self.print(&table.to_string()) }
    }

    pub fn json(&self, json: &Json) {
        self.print(&json.pretty());
    }

    /// A summary that is no result: not with `-q`.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.print(&format!("{text}\n"));
        }
    }

    /// Something that was decided without being asked for.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.to_stderr("note", "36", &error::plain(text, 2000));
        }
    }

    /// What the passes noticed of their own mistakes.
    pub fn remarks(&self, report: &Report) {
        compile::remarks(report).iter().for_each(|remark| self.note(remark));
    }

    /// Only with `-v`.
    pub fn detail(&self, text: &str) {
        if self.verbose {
            let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
        }
    }

    pub fn error(&self, error: &Error) {
        if let Error::Internal(what) = error {
            let _ = writeln!(std::io::stderr(), "{}", super::panic_message(what));
            return;
        }
        for line in error::lines(error) {
            self.to_stderr("error", "1;31", &line);
        }
    }

    fn to_stderr(&self, kind: &str, color: &str, text: &str) {
        let kind = if self.color { format!("\u{1b}[{color}m{kind}:\u{1b}[0m") } else { format!("{kind}:") };
        let _ = writeln!(std::io::stderr(), "{kind} {text}");
    }

    /// A bar that appears once the work turns out to be long; with `-v`, a line of times instead.
    pub fn progress(&self) -> Progress {
        let shown = !self.quiet && !self.verbose && std::io::stderr().is_terminal();
        Progress { bar: Mutex::new(None), shown, told: self.verbose, started: Instant::now(), stages: Mutex::new(Vec::new()) }
    }
}

/// What it means that standard output takes no more.
pub fn unwritten(why: &std::io::Error) -> Result<()> {
    match why.kind() {
        std::io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Error::file("standard output", format!("cannot be written: {}", crate::files::reason(why)))),
    }
}

/// A progress bar on the terminal, gone when dropped.
pub struct Progress {
    bar: Mutex<Option<ProgressBar>>,
    shown: bool,
    /// Whether the times of the stages are told at the end.
    told: bool,
    started: Instant,
    /// Names, and when each began.
    stages: Mutex<Vec<(String, Instant)>>,
}

/// What takes less needs no bar.
const LONG: Duration = Duration::from_millis(400);

impl Progress {
    fn with(&self, f: impl FnOnce(&ProgressBar)) {
        if let Ok(bar) = self.bar.lock()
            && let Some(bar) = &*bar
        {
            if bar.is_hidden() && self.started.elapsed() > LONG {
                bar.set_draw_target(ProgressDrawTarget::stderr());
            }
            f(bar);
        }
    }
}

impl Watch for Progress {
    fn stage(&self, what: &str, steps: usize) {
        if let Ok(mut stages) = self.stages.lock() {
            stages.push((what.to_string(), Instant::now()));
        }
        if !self.shown {
            return;
        }
        if let Ok(mut bar) = self.bar.lock() {
            let bar = bar.get_or_insert_with(|| {
                let style = ProgressStyle::with_template("{msg:>10} {bar:30} {pos}/{len}").expect("a template of ours");
                ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden()).with_style(style)
            });
            bar.set_length(steps as u64);
            bar.set_position(0);
            bar.set_message(what.to_string());
        }
        self.with(|_| {});
    }

    fn step(&self) {
        self.with(|bar| bar.inc(1));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.with(|bar| bar.finish_and_clear());
        let Ok(stages) = self.stages.lock() else { return };
        if self.told && !stages.is_empty() {
            let ends = stages.iter().skip(1).map(|s| s.1).chain([Instant::now()]);
            let times = stages.iter().zip(ends).map(|((what, start), end)| format!("{what} {:.1} ms", (end - *start).as_secs_f64() * 1e3));
            let _ = writeln!(std::io::stderr(), "{}", times.collect::<Vec<_>>().join(", "));
        }
    }
}
