//! An error says what is wrong and, apart from it, what helps; neither knows a command line.

use std::path::PathBuf;

use roundwise_convert::ConvertError;
use roundwise_convert::layout::Layout;
use roundwise_convert::recipe::{Command, Piece, Setting, Text};

/// Errors that name settings or commands, with the way out.
fn errors() -> Vec<(ConvertError, &'static str)> {
    let path = || PathBuf::from("m.safetensors");
    let text = || "x".to_owned();
    vec![
        (
            ConvertError::Refused {
                path: path(),
                title: text(),
                reason: text(),
                way_out: Text::from("another one; ") + Setting::new("as").quoted() + " insists",
            },
            "another one; `as` insists",
        ),
        (
            ConvertError::IsStatistics { path: path() },
            "convert the model with statistics m.safetensors to use them; a look at statistics lists them",
        ),
        (
            ConvertError::NothingInCodes { path: path(), blocks: vec![], unscaled: 0 },
            "a conversion turns them into codes",
        ),
        (
            ConvertError::NothingInCodes { path: path(), blocks: vec!["Q8_0"], unscaled: 0 },
            "a conversion turns them into codes, decoding into plain numbers",
        ),
        (
            ConvertError::Immovable {
                path: path(),
                layout: Layout::Comfy,
                layers: vec![(text(), text())],
            },
            "a conversion rounds anew, decoding gives plain numbers",
        ),
        (
            ConvertError::OtherModel { path: path(), before: text(), after: text() },
            "keep the layers that it looks at (`keep`), and report this as a bug",
        ),
        (ConvertError::OutputIsInput { path: path() }, "name another output (`output`)"),
        (
            ConvertError::OutputExists { path: path() },
            "name another file, or `overwrite` to replace it",
        ),
        (
            ConvertError::WrongOutput { path: path(), tensor: text(), problem: text() },
            "this is a bug, or memory or disk are failing; `starts_over` starts over, `verifies` decides \
             whether the output is read again at all",
        ),
        (
            ConvertError::OtherRun { path: path(), differences: vec![text().into()] },
            "the former input and settings continue it; `starts_over` starts over without it",
        ),
        (
            ConvertError::Unfinished {
                source: Box::new(ConvertError::Stopped),
                finished: 1,
                tensors: 2,
                paths: vec![path()],
            },
            "the same job continues; with `starts_over` it starts over\n  to give it up, remove that and the `.journal` beside it",
        ),
        (
            ConvertError::Parts { path: path(), problem: text() },
            "conversions with `part` 1/N to N/N, by one version, of one input, by one recipe, make parts \
             that do",
        ),
        (
            ConvertError::MemoryLimit {
                path: path(),
                needed: 2 << 20,
                limit: 1 << 20,
                holds_weights_whole: false,
            },
            "`limits.memory_bytes` cannot be lower than that",
        ),
    ]
}

#[test]
fn help_is_apart_from_the_problem_and_names_settings_as_the_library_does() {
    for (error, help) in errors() {
        let found = error.help().unwrap();
        assert_eq!(found, help);
        assert_eq!(error.to_string(), format!("{}\n  {help}", error.problem()));
        assert_eq!(error.text().to_string(), error.to_string());
        let is_named = |piece: &Piece| !matches!(piece, Piece::Words(_));
        assert!(found.pieces().iter().any(is_named), "{found}");
    }
}

#[test]
fn an_error_without_a_way_out_claims_none() {
    for error in [ConvertError::Stopped, ConvertError::misfit("m", "x")] {
        assert_eq!(error.help(), None);
        assert_eq!(error.text(), error.problem());
    }
}

/// Kinds are for programs: every one is a word of its own.
#[test]
fn kinds_are_words_and_tell_errors_apart() {
    let mut kinds: Vec<&str> = errors().iter().map(|(error, _)| error.kind()).collect();
    assert!(kinds.iter().all(|kind| kind.chars().all(|it| it.is_ascii_lowercase() || it == '_')));
    // Two of them are of one kind.
    let count = kinds.len() - 1;
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), count);
}

#[test]
fn a_front_end_has_its_own_words_for_settings_and_commands() {
    let text =
        Text::from(Command::Migrate(Layout::Comfy)) + ", or " + Setting::new("keep").quoted();
    assert_eq!(text, "migration to `comfy`, or `keep`");
    let button = |command: &Command| match command {
        Command::Migrate(layout) => format!("[Move to {layout}]"),
        command => command.to_string(),
    };
    let field = |setting: &Setting| format!("field {}", setting.key());
    assert_eq!(text.worded_with(field, button), "[Move to comfy], or `field keep`");
}
