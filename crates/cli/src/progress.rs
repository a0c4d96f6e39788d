use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use roundwise_convert::{Event, Watch};

use crate::console::complain;
use crate::stop;
use crate::text::{path, plain};

/// One bar for the whole job on a terminal; nothing anywhere else.
pub(crate) struct Progress {
    bar: ProgressBar,
    is_quiet: bool,
    /// Whether there is something to reckon the remaining time from.
    is_under_way: AtomicBool,
    /// Whether searches tell how far they have come.
    is_rounding: AtomicBool,
    /// When a line was written last for want of a terminal.
    told: Mutex<Instant>,
}

/// The message takes what room is left, so that no line is longer than the terminal.
const BEGINNING: &str = "{prefix} {bar:12.cyan/dim} {bytes}/{total_bytes} {wide_msg}";
const UNDER_WAY: &str =
    "{prefix} {bar:12.cyan/dim} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left {wide_msg}";
/// Searches have more to say than bytes.
const ROUNDING: &str = "{prefix} {bar:12.cyan/dim} {percent} % {eta} left {wide_msg}";

/// Share of the work that says something about the rest.
const ENOUGH: f64 = 0.01;

/// Between two lines in a log.
const PAUSE: Duration = Duration::from_secs(60);

impl Progress {
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
            bar,
            is_quiet,
            is_under_way: AtomicBool::new(false),
            is_rounding: AtomicBool::new(false),
            told: Mutex::new(Instant::now()),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn begin(&self, bytes: u64, doing: &'static str) {
        self.is_under_way.store(false, Ordering::Relaxed);
        self.is_rounding.store(false, Ordering::Relaxed);
        self.set_style(BEGINNING);
        self.bar.set_length(bytes);
        self.bar.set_message(doing);
        self.bar.reset();
        self.bar.tick();
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
        let share = self.bar.position() as f64 / self.bar.length().unwrap_or(1).max(1) as f64;
        if share >= ENOUGH && !self.is_under_way.swap(true, Ordering::Relaxed) {
            self.set_style(match self.is_rounding.load(Ordering::Relaxed) {
                true => ROUNDING,
                false => UNDER_WAY,
            });
        }
    }

    fn rounding(&self, tensor: &str, objective_ratio: f64) {
        let percent = objective_ratio * 100.0;
        self.bar.set_message(format!("objective {percent:.0} %: {}", plain(tensor)));
        let is_first = !self.is_rounding.swap(true, Ordering::Relaxed);
        if is_first && self.is_under_way.load(Ordering::Relaxed) {
            self.set_style(ROUNDING);
        }
    }

    /// Where nobody sees the bar, a line now and then says that the work goes on.
    fn tell_log(&self) {
        if self.is_quiet || !self.bar.is_hidden() {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() < PAUSE {
            return;
        }
        *told = Instant::now();
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0).max(1));
        let percent = 100.0 * done as f64 / all as f64;
        let left = HumanDuration(self.bar.eta());
        complain(format_args!("{}: {percent:.0} % done, {left} left", self.bar.prefix()));
    }

    fn set_style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }
}

impl Watch for Progress {
    fn notice(&self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Resumed { finished, tensors } if !self.is_quiet => self.bar.suspend(|| {
                complain(format_args!(
                    "note: continuing an earlier run, which had finished {finished} of {tensors} tensors"
                ));
            }),
            Event::Started { bytes, .. } => self.begin(bytes, ""),
            Event::Verifying { bytes } => self.begin(bytes, "reading the output again"),
            Event::Advanced { bytes } => self.advance(bytes),
            Event::Recalled { bytes } => {
                self.advance(bytes);
                // Or the time that is left would be reckoned from what took none.
                self.bar.reset_eta();
            }
            Event::NotFinite { tensor } if !self.is_quiet => self.bar.suspend(|| {
                let tensor = plain(tensor);
                complain(format_args!("note: `{tensor}` holds a NaN or an infinity; it is kept"));
            }),
            Event::Rounding { tensor, objective_ratio } => self.rounding(tensor, objective_ratio),
            Event::Syncing => self.bar.set_message("syncing to disk"),
            _ => {}
        }
        self.tell_log();
        match stop::is_asked_for() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}
