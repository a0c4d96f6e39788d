use super::{Goal, at_most};

pub(crate) const INSPECT: Goal =
    at_most("`inspect`, ms for 5,000 tensors beyond those for one", Some(50.0), None);
pub(crate) const PLAN: Goal =
    at_most("`plan`, ms for 5,000 tensors beyond those for one", Some(150.0), None);

pub(crate) const ALL: [&Goal; 2] = [&INSPECT, &PLAN];
