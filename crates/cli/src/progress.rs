use std::ops::ControlFlow;
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use roundwise_convert::{Event, Watch};

use crate::stop;
use crate::text::plain;

/// One bar for the whole job on a terminal; nothing anywhere else.
pub(crate) struct Progress {
    bar: ProgressBar,
    is_quiet: bool,
}

impl Progress {
    /// - `is_quiet`: no bar even on a terminal, and no notes
    pub(crate) fn new(input: &Path, is_quiet: bool) -> Self {
        let target = match is_quiet {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let template = "{prefix} {wide_bar:.cyan/dim} {bytes}/{total_bytes} {binary_bytes_per_sec} \
                        {eta} {msg}";
        let name = plain(&input.file_name().unwrap_or(input.as_os_str()).to_string_lossy());
        let prefix = console::truncate_str(&name, 24, "…").into_owned();
        let mut bar = ProgressBar::with_draw_target(None, target).with_prefix(prefix);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar = bar.with_style(style);
        }
        Self { bar, is_quiet }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watch for Progress {
    fn notice(&self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Started { bytes, .. } => {
                self.bar.set_length(bytes);
                self.bar.reset();
            }
            Event::Hashing { bytes } => {
                self.bar.set_length(bytes);
                self.bar.reset();
                self.bar.set_message("hashing the input");
            }
            Event::Advanced { bytes } => self.bar.inc(bytes),
            Event::NotFinite { tensor } if !self.is_quiet => self.bar.suspend(|| {
                let tensor = plain(tensor);
                eprintln!("note: `{tensor}` holds a NaN or an infinity; starting again to keep it");
            }),
            Event::Syncing => self.bar.set_message("syncing to disk"),
            _ => {}
        }
        match stop::is_asked_for() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}
