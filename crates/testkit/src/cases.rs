//! Table tests that report all their failures together.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `test` on every case and panics once, with every case that failed and why.
///
/// A case fails when `test` panics. One wrong rule usually breaks many cases; seeing all of them
/// shows which.
#[track_caller]
pub fn test_each<Case: Debug>(cases: impl IntoIterator<Item = Case>, mut test: impl FnMut(&Case)) {
    let mut count = 0;
    let mut failures = Vec::new();
    for case in cases {
        count += 1;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(&case))) {
            failures.push(format!("case {count}, {case:?}:\n    {}", reason(&*panic)));
        }
    }
    // A table that came out empty would pass without a test.
    assert!(count > 0, "no cases");
    let failed = failures.len();
    assert!(failed == 0, "{failed} of {count} cases failed\n{}", failures.join("\n"));
}

fn reason(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("panicked without a message").replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_failures_are_reported() {
        let run = || test_each([1, 2, 3, 4], |n| assert!(n % 2 == 1, "{n} is even"));
        let message = reason(&*catch_unwind(run).unwrap_err());
        assert!(message.contains("2 of 4 cases failed"), "{message}");
        assert!(message.contains("case 2, 2:") && message.contains("4 is even"), "{message}");
        assert!(!message.contains("case 3"), "{message}");
    }

    #[test]
    fn a_table_without_cases_is_a_failure() {
        assert!(catch_unwind(|| test_each::<u8>([], |_| ())).is_err());
    }
}
