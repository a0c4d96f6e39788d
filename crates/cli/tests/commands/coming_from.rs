//! `docs/coming-from.md` promises flags; they have to exist.

use std::collections::BTreeSet;

use assert_cmd::Command;

const PAGE: &str = include_str!("../../../../docs/coming-from.md");

fn help() -> String {
    let output = Command::cargo_bin("roundwise").unwrap().args(["convert", "--help"]).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

/// Words of code spans that start with two dashes.
fn flags(text: &str) -> BTreeSet<&str> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.flat_map(|span| span.split(' ')).filter(|word| word.starts_with("--")).collect()
}

/// Cells `[theirs, ours, note]` of every row.
fn rows() -> Vec<[&'static str; 3]> {
    let rows = PAGE.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| theirs"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        cells.try_into().unwrap_or_else(|_| panic!("three cells: {row}"))
    })
    .collect()
}

#[test]
fn every_flag_of_ours_exists() {
    let help = help();
    let exists = |flag: &str| {
        help.split_whitespace().any(|word| {
            word.trim_matches([',', ']']) == flag || word.starts_with(&format!("{flag}[="))
        })
    };
    let commands = PAGE.lines().filter(|line| line.starts_with("`roundwise convert"));
    let used = commands.flat_map(flags);
    let promised = rows().into_iter().flat_map(|[_, ours, _]| flags(ours));
    let all: BTreeSet<&str> = used.chain(promised).collect();
    assert!(all.len() > 20, "{all:?}");
    for flag in all {
        assert!(exists(flag), "{flag} is on the page, but not in `convert --help`");
    }
}

#[test]
fn what_has_no_flag_says_why() {
    for [theirs, ours, why] in rows() {
        match flags(ours).is_empty() {
            true => assert!(ours == "–" && !why.is_empty(), "{theirs}: {ours} {why}"),
            false => assert_ne!(ours, "–"),
        }
    }
}

#[test]
fn every_method_on_the_page_exists() {
    let help = help();
    for (_, after) in
        PAGE.match_indices("--method ").map(|(at, found)| PAGE.split_at(at + found.len()))
    {
        let name = after.split(['`', ' ', '.']).next().unwrap();
        assert!(help.contains(name), "{name}");
    }
}
