//! A recipe, or a layer-config of another program: it is refused, or says the same once it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roundwise_convert::{Recipe, RecipeFile};
use roundwise_convert::recipe::import_layer_config;

fuzz_target!(|text: &str| {
    let recipes = [RecipeFile::from_toml(text), import_layer_config(text)];
    for recipe in recipes.into_iter().flatten() {
        let Ok(checked) = Recipe::check(recipe.clone()) else { continue };
        let written = checked.file().to_toml().expect("what is right can be written");
        assert_eq!(RecipeFile::from_toml(&written).as_ref(), Ok(&recipe), "{written}");
    }
});
