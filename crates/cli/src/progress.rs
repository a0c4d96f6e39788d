use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use roundwise_convert::report::Phase;
use roundwise_convert::{Event, Watch};

use crate::console::complain;
use crate::stop::{self, STOP};
use crate::text::{path, plain};

/// One bar for the whole job on a terminal; nothing anywhere else.
pub(crate) struct Progress {
    name: String,
    bar: ProgressBar,
    is_quiet: bool,
    /// Whether enough is done to estimate the remaining time.
    is_under_way: AtomicBool,
    /// Whether the line shows words, for which bytes and their rate leave no room.
    has_words: AtomicBool,
    start: Arc<Mutex<Start>>,
    /// When a line was last written in place of the bar, where there is no terminal.
    told: Mutex<Instant>,
}

/// Where the work of this run began: what an earlier run had done says nothing about the pace of this one.
#[derive(Clone, Copy)]
struct Start {
    since: Instant,
    bytes: u64,
}

impl Start {
    fn from(bytes: u64) -> Self {
        Self { since: Instant::now(), bytes }
    }

    /// Returns the time left of `length` bytes; `None` before this run has done anything.
    fn left(self, elapsed: Duration, position: u64, length: u64) -> Option<Duration> {
        let done = position.checked_sub(self.bytes).filter(|done| *done > 0)?;
        let rest = length.saturating_sub(position);
        Some(elapsed.mul_f64(rest as f64 / done as f64))
    }
}

/// The message takes what room is left, so that no line is longer than the terminal.
const BEGINNING: &str = "{prefix} {bar:12.cyan/dim} {percent} % {wide_msg}";
const UNDER_WAY: &str = "{prefix} {bar:12.cyan/dim} {bytes}/{total_bytes} {binary_bytes_per_sec} {left} left {wide_msg}";
/// For phases with a name, and for searches, which have more to say than bytes.
const IN_WORDS: &str = "{prefix} {bar:12.cyan/dim} {percent} % {left} left {wide_msg}";

/// Share of the work from which the rate is shown: before it, one tensor decides the estimate.
const ENOUGH: f64 = 0.01;

/// Between two lines in a log.
const PAUSE: Duration = Duration::from_secs(60);

impl Progress {
    /// Creates a bar for an input.
    ///
    /// - `is_quiet`: no bar even on a terminal, and no notes
    pub(crate) fn new(input: &Path, is_quiet: bool) -> Self {
        let target = match is_quiet {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let name = path(input.file_name().unwrap_or(input.as_os_str()).as_ref());
        let prefix = console::truncate_str(&name, 16, "…").into_owned();
        let bar = ProgressBar::with_draw_target(None, target).with_prefix(prefix);
        stop::note_bar(&bar);
        // The rate changes while a large tensor is worked on, too.
        bar.enable_steady_tick(Duration::from_millis(500));
        Self {
            name,
            bar,
            is_quiet,
            is_under_way: AtomicBool::new(false),
            has_words: AtomicBool::new(false),
            start: Arc::new(Mutex::new(Start::from(0))),
            told: Mutex::new(Instant::now()),
        }
    }

    /// Marks the point from which the pace is measured: work begins or continues here.
    fn mark(&self) {
        *locked(&self.start) = Start::from(self.bar.position());
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn begin(&self, bytes: u64, doing: &'static str) {
        // Relaxed, here and below: the flags say which line is drawn, and nothing goes with them.
        self.is_under_way.store(false, Ordering::Relaxed);
        self.has_words.store(!doing.is_empty(), Ordering::Relaxed);
        self.set_style(BEGINNING);
        self.bar.set_length(bytes);
        self.bar.set_message(doing);
        self.bar.reset();
        // After the reset, which takes the position back to 0.
        self.mark();
        self.bar.tick();
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
        let share = self.bar.position() as f64 / self.bar.length().unwrap_or(1).max(1) as f64;
        if share >= ENOUGH && !self.is_under_way.swap(true, Ordering::Relaxed) {
            self.set_style(match self.has_words.load(Ordering::Relaxed) {
                true => IN_WORDS,
                false => UNDER_WAY,
            });
        }
    }

    fn rounding(&self, tensor: &str, objective_ratio: f64) {
        let percent = objective_ratio * 100.0;
        self.bar.set_message(format!("objective {percent:.0} %: {}", plain(tensor)));
        let is_first = !self.has_words.swap(true, Ordering::Relaxed);
        if is_first && self.is_under_way.load(Ordering::Relaxed) {
            self.set_style(IN_WORDS);
        }
    }

    /// Writes a line now and then where the bar is hidden, to show that work continues.
    fn tell_log(&self) {
        if self.is_quiet || !self.bar.is_hidden() {
            return;
        }
        let mut told = locked(&self.told);
        if told.elapsed() >= PAUSE {
            *told = Instant::now();
            let (position, length) = (self.bar.position(), self.bar.length().unwrap_or(1).max(1));
            let start = *locked(&self.start);
            let left = start.left(start.since.elapsed(), position, length);
            let share = position as f64 / length as f64;
            complain(format_args!("{}", log_line(&self.name, share, left)));
        }
    }

    fn set_style(&self, template: &str) {
        // Templates are constants; if one were wrong, the bar would stay as it is.
        let Ok(style) = ProgressStyle::with_template(template) else { return };
        let start = Arc::clone(&self.start);
        self.bar.set_style(style.with_key(
            "left",
            move |state: &ProgressState, to: &mut dyn Write| {
                let start = *locked(&start);
                let left = start.left(start.since.elapsed(), state.pos(), state.len().unwrap_or(0));
                // A line that cannot be drawn is drawn half a second later.
                let _ = match left {
                    Some(left) => write!(to, "{:#}", HumanDuration(left)),
                    None => write!(to, "?"),
                };
            },
        ));
    }
}

impl Watch for Progress {
    fn notice(&self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Resumed { finished_tensors: finished, tensors } if !self.is_quiet => self.bar.suspend(|| {
                complain(format_args!(
                    "note: continuing an earlier run, which had finished {finished} of {tensors} tensors"
                ));
            }),
            // Syncing has no bytes to count: the bar stays as it is.
            Event::Phase { name: Phase::Syncing, .. } => self.bar.set_message("syncing to disk"),
            Event::Phase { name, bytes, .. } => self.begin(bytes, doing(name)),
            Event::Advanced { bytes } => self.advance(bytes),
            Event::Recalled { bytes } => {
                // What an earlier run has done took no time: the rate counts from here.
                self.advance(bytes);
                self.mark();
            }
            Event::Search { tensor, objective_ratio, .. } => self.rounding(tensor, objective_ratio),
            _ => {}
        }
        self.tell_log();
        STOP.answer()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::Looking => "looking for NaN and infinity",
        Phase::Scales => "measuring shared scales",
        Phase::Checking => "reading the output again",
        Phase::Converting | Phase::Syncing | Phase::Merging | Phase::Comparing => "",
    }
}

fn log_line(name: &str, share: f64, left: Option<Duration>) -> String {
    match left {
        Some(left) => format!("{name}: {:.0} % done, {} left", 100.0 * share, HumanDuration(left)),
        None => format!("{name}: {:.0} % done", 100.0 * share),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_in_a_log_says_how_far_the_work_is() {
        let line = |left| log_line("m.safetensors", 0.42, left);
        let left = line(Some(Duration::from_secs(190)));
        assert_eq!(left, "m.safetensors: 42 % done, 3 minutes left");
        assert_eq!(line(None), "m.safetensors: 42 % done");
    }

    #[test]
    fn what_an_earlier_run_did_says_nothing_about_the_rest() {
        let left = |position| Start::from(600).left(Duration::from_secs(10), position, 1000);
        assert_eq!(left(700), Some(Duration::from_secs(30)));
        assert_eq!((left(600), left(0)), (None, None));
    }
}
