//! Differences from the record, and the record once they are accepted.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::Accept;
use super::case::Case;
use super::table::{Line, Table};
use crate::machine::Machine;

/// The lines of the cases that were run, beside those of the record.
pub(crate) struct Review<'a> {
    recorded: &'a Table,
    cases: &'a [&'a Case],
    lines: Vec<Line>,
    /// Whether products have other last bits here than where the record was made.
    pub(crate) is_other_cpu: bool,
    cpu: String,
}

impl<'a> Review<'a> {
    /// Compares the lines of some cases with the record.
    ///
    /// - `lines`: of the cases, in their order
    pub(crate) fn of(recorded: &'a Table, cases: &'a [&'a Case], lines: Vec<Line>) -> Self {
        Self::on(cpu(), recorded, cases, lines)
    }

    fn on(cpu: String, recorded: &'a Table, cases: &'a [&'a Case], lines: Vec<Line>) -> Self {
        let probe = cases.iter().zip(&lines).find(|(case, _)| case.is_probe()).map(|(_, it)| it);
        let expected = probe.and_then(|probe| recorded.get(&probe.name));
        // On the CPU of the record, a probe that differs is a difference like any other.
        let is_other_cpu = cpu != recorded.cpu
            && expected.zip(probe).is_some_and(|(expected, found)| expected.output != found.output);
        Self { recorded, cases, lines, is_other_cpu, cpu }
    }

    /// Prints every difference with its commands, and removes the folders of cases without any; gives
    /// how many cases differ in what is not accepted.
    pub(crate) fn print(&self, folder: &Path, accept: Option<Accept>) -> Result<usize> {
        let mut failed = 0;
        for (case, line) in self.cases.iter().zip(&self.lines) {
            let differences = self.differences(case, line);
            if differences.is_empty() {
                fs::remove_dir_all(case.folder(folder))?;
                continue;
            }
            let is_accepted = differences.iter().all(|it| it.is_accepted(accept));
            failed += usize::from(!is_accepted);
            let texts: Vec<String> = differences.iter().map(Difference::to_string).collect();
            println!("{}: {}", case.name, texts.join(", "));
            println!("  cd {}", case.folder(folder).display());
            case.lines().for_each(|line| println!("  roundwise {line}"));
        }
        let learned = self.cases.iter().filter(|case| case.is_learned).count();
        if self.is_other_cpu {
            println!("not compared: another CPU: outputs and reports of {learned} learned cases");
        }
        if self.cpu != self.recorded.cpu {
            println!("recorded on {}, this is {}", self.recorded.cpu, self.cpu);
        }
        Ok(failed)
    }

    fn is_compared(&self, case: &Case) -> bool {
        !(case.is_learned && self.is_other_cpu)
    }

    fn differences(&self, case: &Case, line: &Line) -> Vec<Difference> {
        let Some(recorded) = self.recorded.get(&case.name) else { return vec![Difference::New] };
        let mut differences = vec![];
        if recorded.codes != line.codes {
            let [before, after] = [recorded, line].map(|line| line.codes.clone());
            differences.push(Difference::Codes { before, after });
        }
        if self.is_compared(case) && recorded.output != line.output {
            differences.push(Difference::Output);
        }
        if self.is_compared(case) && recorded.report != line.report {
            differences.push(Difference::Report);
        }
        differences
    }

    /// Returns the record with the accepted lines, in the order of all cases.
    pub(crate) fn accept(&self, cases: &[Case], accept: Accept) -> Table {
        let found = |case: &Case| self.lines.iter().find(|line| line.name == case.name);
        let accepted = |case: &Case| -> Option<Line> {
            let recorded = self.recorded.get(&case.name);
            match (accept, found(case), recorded) {
                (_, None, recorded) => recorded.cloned(),
                (Accept::All, Some(found), _) => Some(found.clone()),
                (Accept::Reports, Some(found), Some(recorded)) if self.is_compared(case) => {
                    Some(Line { report: found.report.clone(), ..recorded.clone() })
                }
                (Accept::Reports, Some(_), recorded) => recorded.cloned(),
            }
        };
        let cpu = match accept {
            Accept::All => self.cpu.clone(),
            // The recorded outputs stay, and so does the CPU that they are of.
            Accept::Reports => self.recorded.cpu.clone(),
        };
        Table { cpu, lines: cases.iter().filter_map(accepted).collect() }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Difference {
    /// The case is not recorded.
    New,
    Codes {
        before: String,
        after: String,
    },
    Output,
    Report,
}

impl Difference {
    fn is_accepted(&self, accept: Option<Accept>) -> bool {
        match accept {
            None => false,
            Some(Accept::Reports) => *self == Self::Report,
            Some(Accept::All) => true,
        }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::New => f.write_str("not recorded"),
            Self::Codes { before, after } => write!(f, "exit codes {after}, recorded {before}"),
            Self::Output => f.write_str("another output"),
            Self::Report => f.write_str("another report"),
        }
    }
}

/// Returns the CPU, and the vectors that products use on it.
fn cpu() -> String {
    #[cfg(target_arch = "x86_64")]
    let vectors = match (is_x86_feature_detected!("avx512f"), is_x86_feature_detected!("avx2")) {
        (true, _) => "avx512",
        (false, true) => "avx2",
        (false, false) => "sse2",
    };
    #[cfg(not(target_arch = "x86_64"))]
    let vectors = std::env::consts::ARCH;
    format!("{}, {vectors}", Machine::here().cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, output: &str, report: &str) -> Line {
        let [name, output, report] = [name, output, report].map(str::to_owned);
        Line { name, codes: "0".to_owned(), output, report }
    }

    fn recorded() -> Table {
        let lines =
            vec![line("probe", "p", "r"), line("exact", "e", "r"), line("learned", "l", "r")];
        Table { cpu: "one".to_owned(), lines }
    }

    fn cases() -> [Case; 3] {
        [Case::probe(&[]), Case::exact("exact", &[]), Case::learned("learned", &[])]
    }

    /// Returns the differences of each case.
    fn differences(cpu: &str, lines: [Line; 3]) -> [Vec<Difference>; 3] {
        let (recorded, cases) = (recorded(), cases());
        let cases = cases.each_ref();
        let review = Review::on(cpu.to_owned(), &recorded, &cases, lines.into());
        std::array::from_fn(|at| review.differences(cases[at], &review.lines[at]))
    }

    #[test]
    fn learned_cases_are_compared_where_the_probe_is_the_recorded_one() {
        let changed = [line("probe", "p", "r"), line("exact", "x", "r"), line("learned", "x", "x")];
        let both = [vec![], vec![Difference::Output], vec![Difference::Output, Difference::Report]];
        assert_eq!(differences("one", changed.clone()), both);
        assert_eq!(differences("other", changed), both);
    }

    #[test]
    fn another_probe_is_a_difference_on_the_recorded_cpu_alone() {
        let changed = [line("probe", "x", "r"), line("exact", "e", "x"), line("learned", "x", "r")];
        let [probe, exact, learned] = differences("one", changed.clone());
        assert_eq!((probe, learned), (vec![Difference::Output], vec![Difference::Output]));
        assert_eq!(exact, [Difference::Report]);
        let elsewhere = differences("other", changed);
        assert_eq!(elsewhere, [vec![], vec![Difference::Report], vec![]]);
    }

    #[test]
    fn accepted_reports_leave_the_outputs() {
        let (recorded, cases) = (recorded(), cases());
        let chosen = cases.each_ref();
        let lines =
            vec![line("probe", "p", "r"), line("exact", "x", "new"), line("learned", "l", "r")];
        let review = Review::on("one".to_owned(), &recorded, &chosen, lines);
        let table = review.accept(&cases, Accept::Reports);
        assert_eq!(table.get("exact"), Some(&line("exact", "e", "new")));
        assert_eq!(
            review.accept(&cases, Accept::All).get("exact"),
            Some(&line("exact", "x", "new"))
        );
    }

    #[test]
    fn a_case_that_was_not_run_keeps_its_line() {
        let (recorded, cases) = (recorded(), cases());
        let chosen = [&cases[0]];
        let review =
            Review::on("one".to_owned(), &recorded, &chosen, vec![line("probe", "x", "x")]);
        let table = review.accept(&cases, Accept::All);
        assert_eq!(table.lines[1..], recorded.lines[1..]);
        assert_eq!(table.get("probe"), Some(&line("probe", "x", "x")));
    }
}
