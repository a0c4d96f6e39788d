use super::{Goal, at_most};

pub(crate) const INSPECT: Goal =
    at_most("`inspect`, ms for 5,000 tensors beyond those for one", Some(50.0), None);

pub(crate) const BUDGET: Goal = at_most(
    "`plan --bits`, seconds for 1,000 layers × 8 schemes whose losses are known",
    Some(1.0),
    None,
);

pub(crate) const ALL: [&Goal; 2] = [&INSPECT, &BUDGET];
