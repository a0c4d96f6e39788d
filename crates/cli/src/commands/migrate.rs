use roundwise_convert::RecipeFile;

use super::rewrite;
use crate::arguments::MigrateOptions;

pub(crate) fn run(options: &MigrateOptions) -> anyhow::Result<bool> {
    let recipe = RecipeFile { migrate_to: Some(options.to.clone()), ..RecipeFile::default() };
    rewrite::run(&options.rewrite, None, recipe)
}
