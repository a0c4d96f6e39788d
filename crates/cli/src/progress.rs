use std::ops::ControlFlow;
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use roundwise_convert::{Event, Watch};

use crate::stop;

/// One bar for the whole job on a terminal; nothing anywhere else.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// - `is_quiet`: no bar even on a terminal
    pub(crate) fn new(input: &Path, is_quiet: bool) -> Self {
        let target = match is_quiet {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let template = "{prefix} {wide_bar:.cyan/dim} {bytes}/{total_bytes} {binary_bytes_per_sec} \
                        {eta} {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let name = input.file_name().unwrap_or(input.as_os_str());
        bar.set_prefix(console::truncate_str(&name.to_string_lossy(), 24, "…").into_owned());
        Self { bar }
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
                self.bar.reset();
                self.bar.set_length(bytes);
            }
            Event::Advanced { bytes } => self.bar.inc(bytes),
            Event::NotFinite { tensor } => self.bar.suspend(|| {
                eprintln!("`{tensor}` holds a NaN or an infinity; it is kept, starting again");
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
