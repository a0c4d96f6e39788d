//! Recipes as command lines.

use roundwise_convert::RecipeFile;
use roundwise_convert::inspect::MadeBy;
use roundwise_convert::recipe::{recipe_words, shell_text};

/// The command that makes a file again, for a shell; `INPUT` stands for the input and `STATISTICS` for
/// the statistics.
pub(crate) fn command_of(made: &MadeBy) -> String {
    let command: &[&str] = match &made.recipe {
        RecipeFile { decode_to: Some(_), .. } => &["dequantize", "INPUT"],
        RecipeFile { migrate_to: Some(_), .. } => &["migrate", "INPUT"],
        RecipeFile { edit: Some(_), .. } => &["edit", "INPUT"],
        RecipeFile { repair: Some(true), .. } => &["repair", "INPUT", "--write"],
        _ => &["convert", "INPUT"],
    };
    let statistics: &[&str] = if made.uses_statistics { &["--stats", "STATISTICS"] } else { &[] };
    let first = ["roundwise"].iter().chain(command).chain(statistics);
    let mut words: Vec<String> = first.map(|word| (*word).to_owned()).collect();
    // Without the recipe's model, which the input decides anyway.
    words.extend(recipe_words(&made.recipe));
    shell_text(&words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_the_recipe_in_flags_that_no_shell_changes() {
        let recipe = RecipeFile::from_toml(
            "scheme = 'int8-row'\nkeep = ['a b', '-c', \"d'$(e)\"]\nmin_size = 10\n\
             ignore_base_list = true\nprovenance = false\nmethod = 'principal'\n\
             rules = [{ pattern = '\\.0', scheme = 'fp8' }]\nmethod_options = { top_p = 0.1 }\n",
        );
        let made = MadeBy {
            version: "0".to_owned(),
            recipe: recipe.unwrap(),
            input_blake3: vec![],
            uses_statistics: false,
        };
        assert_eq!(
            command_of(&made),
            r"roundwise convert INPUT --scheme=int8-row --method=principal --top-p=0.1 \
              --ignore-base-list --keep='a b' --keep=-c --keep='d'\''$(e)' --rule='\.0=fp8' \
              --min-size=10 --no-provenance"
                .replace("\\\n              ", "")
        );
    }
}
