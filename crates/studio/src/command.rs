//! The command that a job is, to be run and to be shown: they are one.

use std::path::Path;

use roundwise_convert::RecipeFile;
use roundwise_convert::recipe::recipe_words;

use crate::job::{JobKind, JobOrder};

/// Longer recipes go into a file: systems bound the length of a command.
const MOST_BYTES: usize = 16 << 10;

/// Returns the words of the command that a job is, the program's name first.
///
/// - `recipe_file`: named where flags cannot say the recipe; the caller writes it before the command is run
pub fn words_of(order: &JobOrder, recipe_file: &Path) -> Vec<String> {
    let input = order.input.to_string_lossy().into_owned();
    let output = order.output.to_string_lossy().into_owned();
    let (name, takes_recipe) = match order.kind {
        JobKind::Convert => ("convert", true),
        JobKind::Try => ("try", true),
        JobKind::Dequantize => ("dequantize", false),
        JobKind::Migrate => ("migrate", false),
        JobKind::Repair => ("repair", false),
        JobKind::Verify => ("verify", false),
        JobKind::Budget => ("plan", true),
    };
    let mut words = vec!["roundwise".to_owned(), name.to_owned(), input];
    if order.kind == JobKind::Verify {
        words.push(output.clone());
    }
    if order.kind == JobKind::Repair {
        words.push("--write".to_owned());
    }
    if order.kind.writes() {
        // Paths of orders are absolute, so that none begins with a dash.
        words.extend(["-o".to_owned(), output]);
    }
    match takes_recipe && !is_said_by_flags(&order.recipe) {
        true => words.push(format!("--recipe={}", recipe_file.display())),
        false => words.extend(recipe_words(&order.recipe)),
    }
    push_run(order, &mut words);
    words
}

/// Whether flags can say a job's recipe, so that it need not be in a file.
pub(crate) fn is_said_by_flags(recipe: &RecipeFile) -> bool {
    // `model` has no flag.
    let words = recipe_words(recipe);
    recipe.model.is_none() && words.iter().map(String::len).sum::<usize>() <= MOST_BYTES
}

fn push_run(order: &JobOrder, words: &mut Vec<String>) {
    let run = &order.run;
    let is_conversion = matches!(order.kind, JobKind::Convert | JobKind::Try);
    let is_plan = is_conversion || order.kind == JobKind::Budget;
    let mut push = |flag: &str, value: Option<String>| {
        // Joined, so that a value that begins with a dash is no flag.
        words.extend(value.map(|value| format!("{flag}={value}")));
    };
    push("--threads", run.threads.map(|it| it.to_string()));
    if let Some(budget) = &order.budget {
        push("--size", budget.size.map(|it| it.to_string()));
        push("--bits", budget.bits.map(|it| it.to_string()));
        push("--loss", budget.loss.map(|it| it.to_string()));
        push("--card", budget.card.clone());
    }
    if !matches!(order.kind, JobKind::Verify | JobKind::Budget) {
        push("--shard-size", run.shard_bytes.map(|it| it.to_string()));
    }
    if is_plan {
        push("--memory-limit", run.memory_bytes.map(|it| it.to_string()));
    }
    if is_conversion {
        push("--device", run.device.clone());
    }
    if order.kind == JobKind::Convert {
        push("--extract-error-lora", run.extract_error_lora.map(|it| it.to_string()));
    }
    if is_plan || order.kind == JobKind::Verify {
        let path = run.statistics.as_ref();
        push("--stats", path.map(|path| path.to_string_lossy().into_owned()));
        if run.statistics.is_some() && run.allow_partial_statistics {
            words.push("--force-stats".to_owned());
        }
    }
    if order.kind.writes() {
        if run.verifies == Some(false) {
            words.push("--no-verify".to_owned());
        }
        if run.starts_over {
            words.push("--fresh".to_owned());
        }
        if order.replace {
            words.push("--force".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    use roundwise_convert::recipe::shell_text;

    use super::*;
    #[cfg(unix)]
    use roundwise_convert::plan::BudgetFile;
    use roundwise_convert::run::RunFile;

    fn order(kind: JobKind, recipe: &str) -> JobOrder {
        JobOrder {
            kind,
            input: "/m/a b.safetensors".into(),
            output: "/m/o.safetensors".into(),
            recipe: RecipeFile::from_toml(recipe).unwrap(),
            run: RunFile::default(),
            replace: false,
            budget: None,
        }
    }

    #[cfg(unix)]
    fn shell(order: &JobOrder) -> String {
        shell_text(&words_of(order, Path::new("/s/recipe.toml")))
    }

    #[cfg(unix)]
    #[test]
    fn a_command_says_recipe_and_run_in_flags_that_no_shell_changes() {
        let mut convert = order(
            JobKind::Convert,
            "scheme = 'int8-row'\nkeep = ['-a$(b)']\nprovenance = false\nignore_base_list = true\n\
             rules = [{ pattern = 'x=y', scheme = 'fp8' }]\nmethod_options = { top_p = 0.1 }",
        );
        convert.run.memory_bytes = Some(1 << 30);
        convert.replace = true;
        assert_eq!(
            shell(&convert),
            "roundwise convert '/m/a b.safetensors' -o /m/o.safetensors --scheme=int8-row \
             --top-p=0.1 --ignore-base-list --keep='-a$(b)' --rule=x=y=fp8 --no-provenance \
             --memory-limit=1073741824 --force"
        );
        assert_eq!(
            shell(&order(JobKind::Repair, "repair = true")),
            "roundwise repair '/m/a b.safetensors' --write -o /m/o.safetensors"
        );
        assert_eq!(
            shell(&order(JobKind::Verify, "")),
            "roundwise verify '/m/a b.safetensors' /m/o.safetensors"
        );
        let mut budget = order(JobKind::Budget, "keep = ['x']");
        budget.budget =
            Some(BudgetFile { size: Some(7), card: Some("rtx40".into()), ..BudgetFile::default() });
        assert_eq!(
            shell(&budget),
            "roundwise plan '/m/a b.safetensors' --keep=x --size=7 --card=rtx40"
        );
        assert_eq!(
            shell(&order(JobKind::Migrate, "migrate_to = 'comfy'")),
            "roundwise migrate '/m/a b.safetensors' -o /m/o.safetensors --to=comfy"
        );
    }

    #[test]
    fn what_flags_cannot_say_is_in_a_file() {
        let of_model = order(JobKind::Convert, "model = 'Flux'");
        assert!(
            words_of(&of_model, Path::new("/s/recipe.toml"))
                .contains(&"--recipe=/s/recipe.toml".to_owned())
        );
        let long = format!("keep = ['{}']", "x".repeat(MOST_BYTES));
        assert!(!is_said_by_flags(&RecipeFile::from_toml(&long).unwrap()));
    }
}
