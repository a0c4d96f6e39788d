use super::{Goal, at_most};

pub(crate) const INSPECT: Goal =
    at_most("`inspect`, ms for 5,000 tensors beyond those for one", Some(50.0), None);

pub(crate) const ALL: [&Goal; 1] = [&INSPECT];
