use crate::{
    Complaint, MethodError, MethodOptions, MethodSetting, Problem, SettingRange, SettingValue,
    WhyNot,
};

/// Complaints about the settings that were asked of a method.
pub(crate) struct Complaints {
    method: &'static str,
    list: Vec<Complaint>,
}

impl Complaints {
    pub(crate) fn about(method: &'static str) -> Self {
        Self { method, list: Vec::new() }
    }

    /// Returns `result`, unless there are complaints.
    pub(crate) fn or<T>(self, result: T) -> Result<T, MethodError> {
        if self.list.is_empty() {
            return Ok(result);
        }
        Err(MethodError { method: self.method.to_owned(), complaints: self.list })
    }

    pub(crate) fn add(&mut self, setting: &'static str, problem: Problem) {
        self.list.push(Complaint { setting, problem });
    }

    /// Complains where there is a reason not to apply.
    pub(crate) fn applies(&mut self, setting: &'static str, why_not: Option<WhyNot>) -> bool {
        let Some(why) = why_not else { return true };
        self.add(setting, Problem::DoesNotApply { method: self.method, why });
        false
    }

    /// Looks a name up; an unknown one is a complaint.
    pub(crate) fn named<T>(
        &mut self,
        setting: &'static str,
        name: &Option<String>,
        find: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let name = name.as_ref()?;
        let found = find(name);
        if let (None, SettingRange::Names { names }) =
            (&found, MethodOptions::setting(setting).range)
        {
            let (found, known) = (name.clone(), names.to_vec());
            self.add(setting, Problem::UnknownName { found, known });
        }
        found
    }

    /// Returns a number that lies in its range; any other is a complaint.
    pub(crate) fn number(&mut self, setting: &'static str, found: Option<f64>) -> Option<f64> {
        let number = found?;
        self.is_in_range(setting, number.into(), number).then_some(number)
    }

    /// Returns a whole number that lies in its range; any other is a complaint.
    pub(crate) fn count(&mut self, setting: &'static str, found: Option<usize>) -> Option<usize> {
        let count = found?;
        self.is_in_range(setting, count.into(), count as f64).then_some(count)
    }

    fn is_in_range(&mut self, setting: &'static str, value: SettingValue, found: f64) -> bool {
        let MethodSetting { range, unit, .. } = *MethodOptions::setting(setting);
        let is_in_range = range.contains(&value);
        if !is_in_range {
            self.add(setting, Problem::OutOfRange { found, expected: range, unit });
        }
        is_in_range
    }
}
