use crate::{Complaint, MethodError};

/// What is wrong with what was asked of a method.
pub(crate) struct Complaints {
    method: &'static str,
    list: Vec<Complaint>,
}

impl Complaints {
    pub(crate) fn about(method: &'static str) -> Self {
        Self { method, list: Vec::new() }
    }

    /// `result`, unless there is something to complain about.
    pub(crate) fn or<T>(self, result: T) -> Result<T, MethodError> {
        if self.list.is_empty() {
            return Ok(result);
        }
        Err(MethodError { method: self.method.to_owned(), complaints: self.list })
    }

    pub(crate) fn add(&mut self, complaint: Complaint) {
        self.list.push(complaint);
    }

    /// Complains where there is a reason not to apply.
    pub(crate) fn applies(&mut self, option: &'static str, why_not: Option<String>) -> bool {
        let Some(why) = why_not else { return true };
        let method = self.method;
        self.list.push(Complaint::DoesNotApply { option, method, why });
        false
    }

    pub(crate) fn excludes(&mut self, option: &'static str, other: &'static str) {
        self.list.push(Complaint::Excludes { option, other });
    }

    /// What a name stands for.
    pub(crate) fn named<T>(
        &mut self,
        option: &'static str,
        name: &Option<String>,
        find: impl FnOnce(&str) -> Option<T>,
        known: &[&'static str],
    ) -> Option<T> {
        let name = name.as_ref()?;
        let found = find(name);
        if found.is_none() {
            let (found, known) = (name.clone(), known.to_vec());
            self.list.push(Complaint::UnknownName { option, found, known });
        }
        found
    }

    /// A number that lies in its range.
    pub(crate) fn number(
        &mut self,
        option: &'static str,
        found: Option<f64>,
        range: Range,
    ) -> Option<f64> {
        let found = found?;
        if found.is_finite() && (range.contains)(found) {
            return Some(found);
        }
        self.list.push(Complaint::OutOfRange { option, found, expected: range.words });
        None
    }

    /// A number from 1 on.
    pub(crate) fn count(&mut self, option: &'static str, found: Option<usize>) -> Option<usize> {
        let found = found?;
        if found > 0 {
            return Some(found);
        }
        let expected = "1 or more";
        self.list.push(Complaint::OutOfRange { option, found: 0.0, expected });
        None
    }
}

/// Numbers that an option may be.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    contains: fn(f64) -> bool,
    words: &'static str,
}

pub(crate) const ABOVE_0: Range =
    Range { contains: |value| value > 0.0, words: "a number above 0" };
pub(crate) const FROM_0: Range =
    Range { contains: |value| value >= 0.0, words: "a number from 0 on" };
pub(crate) const SHARE_FROM_0: Range = Range {
    contains: |value| (0.0..=1.0).contains(&value),
    words: "a number from 0 to 1 (0.03 for 3 %)",
};
pub(crate) const SHARE: Range =
    Range { contains: |value| value > 0.0 && value <= 1.0, words: "a number above 0, to 1" };
