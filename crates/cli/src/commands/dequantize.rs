use roundwise_convert::RecipeFile;

use super::rewrite;
use crate::arguments::DequantizeOptions;

pub(crate) fn run(options: &DequantizeOptions) -> anyhow::Result<bool> {
    let decode_to = Some(options.dtype.clone());
    let names = options.names.clone();
    let recipe = RecipeFile { decode_to, names, ..RecipeFile::default() };
    rewrite::run(&options.rewrite, None, recipe)
}
