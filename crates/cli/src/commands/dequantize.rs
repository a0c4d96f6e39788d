use roundwise_convert::RecipeFile;

use super::rewrite;
use crate::arguments::DequantizeOptions;

pub(crate) fn run(options: &DequantizeOptions) -> anyhow::Result<bool> {
    let recipe = RecipeFile { decode_to: Some(options.dtype.clone()), ..RecipeFile::default() };
    rewrite::run(&options.rewrite, None, recipe)
}
