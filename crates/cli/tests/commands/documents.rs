//! The README and the documents say what the tool does, and link to what is there.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use assert_cmd::Command;

use crate::tool::Folder;

const README: &str = include_str!("../../../../README.md");

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
                text(&scheme["opened_by"]),
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

/// Every setting of it matches something, or the tool would refuse it or say so.
#[test]
fn the_recipe_of_the_readme_runs_on_its_model() {
    let recipe = README.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let model = include_bytes!("../../../../fixtures/tensors/minilm-layer0.safetensors");
    let folder = Folder::with("model.safetensors", model);
    folder.write("recipe.toml", recipe.as_bytes());
    let plan = folder.done(&["plan", "model.safetensors", "--recipe", "recipe.toml"]);
    assert!(!plan.contains("changes nothing"), "{plan}");
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

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every page, with its path from the workspace's folder.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths =
        ["README.md", "CONTRIBUTING.md", "fixtures/README.md"].map(PathBuf::from).to_vec();
    for folder in ["docs", "docs/decisions"] {
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        let names = entries.map(|entry| PathBuf::from(folder).join(entry.unwrap().file_name()));
        paths.extend(names.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    }
    paths.sort();
    let read = |path: PathBuf| (path.clone(), std::fs::read_to_string(root().join(path)).unwrap());
    paths.into_iter().map(read).collect()
}

/// Made from measurements by `cargo xtask report`, and committed with them.
const GENERATED: [&str; 1] = ["quality.svg"];

#[test]
fn every_relative_link_leads_somewhere() {
    let mut count = 0;
    for (page, text) in pages() {
        for (_, after) in text.match_indices("](").map(|(at, _)| text.split_at(at + 2)) {
            let target = after.split(')').next().unwrap();
            if target.contains("://") || GENERATED.contains(&target) {
                continue;
            }
            count += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => root().join(&page),
                file => root().join(&page).parent().unwrap().join(file),
            };
            assert!(file.exists(), "{}: there is no {target}", page.display());
            if !anchor.is_empty() {
                let linked = std::fs::read_to_string(&file).unwrap();
                let mut headings = linked.lines().filter(|line| line.starts_with('#'));
                let is_there = headings.any(|heading| anchor_of(heading) == anchor);
                assert!(is_there, "{}: no heading for {target}", page.display());
            }
        }
    }
    assert!(count > 30, "{count} links");
}

/// Returns the anchor that links use for a heading.
fn anchor_of(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    kept.map(|char| if char == ' ' { '-' } else { char }).collect()
}

/// Commands in code: those that fill a line, and those in backticks.
fn commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().map(|line| line.trim_start().trim_start_matches("$ "));
    let is_command = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        matches!(words[..], ["roundwise", name] if is_name(name))
    };
    let spans = joined.split('`').skip(1).step_by(2).filter(|span| !span.contains("\n\n"));
    let spans: Vec<&str> = spans.filter(is_command).collect();
    lines
        .filter(is_command)
        .filter(|line| !line.contains('`'))
        .chain(spans)
        .map(str::to_owned)
        .collect()
}

/// Returns whether a word is the name of a command: in prose a verb follows instead.
fn is_name(word: &str) -> bool {
    static HELP: LazyLock<String> = LazyLock::new(|| stdout(&["--help"]));
    let mut names = HELP.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.any(|name| name == word)
}

/// Words as a shell splits them, without comments and redirections.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for char in command.chars() {
        match char {
            '\'' | '"' => is_quoted = !is_quoted,
            '#' | '>' | '|' if !is_quoted && words.last().is_some_and(String::is_empty) => break,
            char if char.is_whitespace() && !is_quoted => words.push(String::new()),
            char => words.last_mut().unwrap().push(char),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A word with 1 for every variable of the shell around it: all that are shown are numbers.
fn without_variables(word: &str) -> String {
    let mut parts = word.split('$');
    let first = parts.next().unwrap_or_default().to_owned();
    let is_of_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let parts = parts.map(|part| format!("1{}", part.trim_start_matches(is_of_name)));
    std::iter::once(first).chain(parts).collect()
}

/// Every flag and every value that is shown exists; what is left out in prose may be missing.
#[test]
fn every_command_on_a_page_can_be_typed() {
    let mut count = 0;
    for (page, text) in pages() {
        for command in commands(&text) {
            let mut words = words(&command);
            words.retain(|word| word != "…");
            words.iter_mut().for_each(|word| *word = without_variables(word));
            // In prose a flag may stand without its value.
            let is_prose = words.last().is_some_and(|word| word == "--input-scale");
            words.extend(is_prose.then(|| "REGEX".to_owned()));
            words.push("--help".to_owned());
            let mut tool = Command::cargo_bin("roundwise").unwrap();
            let run = tool.env("SLURM_ARRAY_TASK_ID", "1").args(&words[1..]).output().unwrap();
            let told = String::from_utf8_lossy(&run.stderr).into_owned();
            assert!(run.status.success(), "{}: `{command}`: {told}", page.display());
            count += 1;
        }
    }
    assert!(count > 40, "{count} commands");
}
