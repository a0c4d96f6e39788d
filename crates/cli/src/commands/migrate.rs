use roundwise_convert::RecipeFile;

use super::rewrite;
use crate::arguments::MigrateOptions;

pub(crate) fn run(options: &MigrateOptions) -> anyhow::Result<bool> {
    let usual = options.program.map(|program| program.usual_layout().to_string());
    let program = options.program.map(|program| program.to_string());
    let migrate_to = options.to.clone().or(usual);
    let recipe = RecipeFile { migrate_to, program, ..RecipeFile::default() };
    rewrite::run(&options.rewrite, None, recipe)
}
