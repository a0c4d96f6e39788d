use anyhow::anyhow;
use roundwise_convert::inspect::recipe_template;
use roundwise_convert::recipe::import_layer_config;
use roundwise_convert::tensor_file::read_text;

use crate::arguments::RecipeCommand;
use crate::console::print_as_it_is;
use crate::outcome::BadUsage;

pub(crate) fn run(command: &RecipeCommand) -> anyhow::Result<bool> {
    match command {
        RecipeCommand::Init(options) => print_as_it_is(&recipe_template(&options.input)?)?,
        RecipeCommand::Import(options) => {
            let path = &options.layer_config;
            let recipe = import_layer_config(&read_text(path)?)
                .map_err(|error| BadUsage(format!("{}: {error}", path.display())))?;
            print_as_it_is(&recipe.to_toml().map_err(|error| anyhow!("{error}"))?)?;
        }
    }
    Ok(true)
}
