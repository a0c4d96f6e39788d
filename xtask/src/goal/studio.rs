use super::{Goal, at_most};

pub(crate) const BINARY: Goal = at_most("studio, MiB that it adds to the program", Some(2.0), None);
pub(crate) const PAGE: Goal = at_most("studio, KiB of the page", Some(200.0), None);
pub(crate) const LINES: Goal = at_most("studio, lines of JavaScript", Some(3700.0), None);
pub(crate) const LINK: Goal = at_most("studio, ms to its address", Some(100.0), None);
pub(crate) const PAINT: Goal = at_most("studio, ms to the first paint", Some(150.0), None);
pub(crate) const MEMORY: Goal = at_most("studio, MiB in memory, 5,000 tensors", Some(60.0), None);
pub(crate) const PLAN: Goal = at_most("studio, ms for a plan of 5,000 tensors", Some(150.0), None);
pub(crate) const SIZES: Goal =
    at_most("studio, ms for the sizes of all schemes, 5,000 tensors", Some(1000.0), None);
pub(crate) const SHOWN: Goal = at_most("studio, ms until such a plan is shown", Some(300.0), None);
pub(crate) const FILTER: Goal = at_most("studio, ms to filter its tensors", Some(50.0), None);
pub(crate) const FRAMES: Goal =
    at_most("studio, ms of 95 % of frames while they scroll", Some(17.0), None);
pub(crate) const WORST_FRAME: Goal = at_most("studio, ms of the slowest frame", Some(50.0), None);
pub(crate) const EVENTS: Goal =
    at_most("studio, time of a conversion with events over one without", Some(1.01), None);

pub(crate) const ALL: [&Goal; 13] = [
    &BINARY,
    &PAGE,
    &LINES,
    &LINK,
    &PAINT,
    &MEMORY,
    &PLAN,
    &SIZES,
    &SHOWN,
    &FILTER,
    &FRAMES,
    &WORST_FRAME,
    &EVENTS,
];
