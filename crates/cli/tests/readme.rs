//! The README says what the tool says.

use assert_cmd::Command;

const README: &str = include_str!("../../../README.md");

fn stdout(arguments: &[&str]) -> String {
    let output = Command::cargo_bin("roundwise").unwrap().args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_table_of_schemes_is_the_catalogue() {
    let schemes: serde_json::Value = serde_json::from_str(&stdout(&["schemes", "--json"])).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let expected: Vec<String> = schemes
        .as_array()
        .unwrap()
        .iter()
        .map(|scheme| {
            format!(
                "| `{}` | {} | {} | {} |",
                text(&scheme["name"]),
                scheme["bits"],
                text(&scheme["client"]),
                text(&scheme["when"])
            )
        })
        .collect();
    let found: Vec<&str> = README
        .lines()
        .skip_while(|line| !line.starts_with("|---|--:|---|---|"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn every_flag_that_the_readme_names_exists() {
    let commands = ["convert", "plan", "dequantize", "migrate", "edit", "repair"];
    let help: String = commands.iter().map(|command| stdout(&[command, "--help"])).collect();
    let flags = README
        .split(|c: char| c.is_whitespace() || "`'|,;:()".contains(c))
        .filter(|word| word.starts_with("--") && word.len() > 3 && !word.starts_with("---"));
    for flag in flags {
        let is_cargo = ["--release", "--workspace", "--path", "--features"].contains(&flag);
        assert!(is_cargo || help.contains(flag), "{flag} is not in --help");
    }
}
