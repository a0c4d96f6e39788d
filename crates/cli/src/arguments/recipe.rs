use std::path::PathBuf;

use clap::{Args, Subcommand};
use roundwise_convert::RecipeFile;
use roundwise_convert::source::StatisticsFile;
use roundwise_convert::tensor_file::read_text;

use super::{INPUT, NO_PROVENANCE};
use crate::outcome::BadUsage;
use crate::typed::Typed;

#[derive(Debug, Subcommand)]
pub(crate) enum RecipeCommand {
    /// Print a recipe for this very model, every line of it explained
    Init(RecipeInitOptions),
    /// Print a layer-config of convert_to_quant, in JSON, as a recipe
    Import(RecipeImportOptions),
}

#[derive(Debug, Args)]
pub(crate) struct RecipeInitOptions {
    #[arg(value_name = "INPUT", help = INPUT)]
    pub(crate) input: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RecipeImportOptions {
    /// The layer-config
    pub(crate) layer_config: PathBuf,
}

/// Flags that say how tensors are converted.
#[derive(Debug, Args)]
#[command(next_help_heading = "Recipe")]
pub(crate) struct RecipeOptions {
    #[command(flatten)]
    flags: RecipeFile,
    #[arg(long, help = NO_PROVENANCE)]
    no_provenance: bool,
    /// Recipe in TOML, with keys such as scheme, keep and rules, or a layer-config in JSON; flags
    /// override it, lists are joined
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
}

impl RecipeOptions {
    /// Returns the recipe file, if any, with the flags on top, and how each setting was typed.
    /// Statistics choose the method where none is named.
    pub(crate) fn to_recipe_file(
        &self,
        statistics: Option<&StatisticsFile>,
    ) -> anyhow::Result<(RecipeFile, Typed)> {
        let provenance = self.no_provenance.then_some(false);
        let (file, flags) = (self.file()?, RecipeFile { provenance, ..self.flags.clone() });
        let typed = Typed::new(&file, &flags);
        let recipe = file.overlaid_with(flags).map_err(|error| typed.error(error.into()))?;
        // Last, so that a method that the file or a flag names stands.
        let recipe = if statistics.is_some() { recipe.with_statistics() } else { recipe };
        Ok((recipe, typed))
    }

    /// Returns the file that was named, if any.
    pub(crate) fn path(&self) -> Option<&PathBuf> {
        self.recipe.as_ref()
    }

    fn file(&self) -> anyhow::Result<RecipeFile> {
        Ok(match &self.recipe {
            Some(path) => {
                let recipe = RecipeFile::from_text(&read_text(path)?);
                recipe.map_err(|error| BadUsage(format!("{}: {error}", path.display())))?
            }
            None => RecipeFile::default(),
        })
    }
}
