use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::error::ConvertError;
use crate::plan::tensor_kind::expression;
use crate::plan::{Decision, Plan, PlanRequest};
use crate::recipe::file::RecipeFile;
use crate::source::{Source, for_input};

/// Layers of one kind, which differ in numbers alone.
#[derive(Default)]
struct Family {
    count: usize,
    shape: Vec<u64>,
    becomes: String,
}

/// Returns a recipe for one model in TOML, which [`RecipeFile::from_toml`] reads: the rules that
/// apply to it, and every kind of layer that it has. Unchanged, it does what happens without a
/// recipe.
///
/// # Errors
/// As [`Source::open_with`] and [`Plan::decide`].
pub fn recipe_template(input: &Path) -> Result<String, ConvertError> {
    let recipe = for_input(RecipeFile::default(), input, None).check()?;
    let source = Source::open_with(input, &recipe)?;
    let plan = Plan::decide(&PlanRequest::new(&source, &recipe))?;
    let mut families = BTreeMap::<String, Family>::new();
    for planned in &plan.tensors {
        let becomes = match planned.decision {
            Decision::Quantize { .. } => "converted",
            Decision::Copy | Decision::Decode { .. } if planned.shape.len() == 2 => "kept",
            _ => continue,
        };
        let family = families.entry(expression(planned.layer())).or_default();
        family.count += 1;
        family.shape.clone_from(&planned.shape);
        family.becomes = format!("{becomes}: {}", planned.because());
    }
    let model = &plan.subject.detected.main;
    let scheme = recipe.scheme();
    let program = recipe
        .file()
        .program
        .as_ref()
        .map(|program| format!("# The program that the file is for.\nfor = \"{program}\"\n\n"));
    let program = program.unwrap_or_default();
    let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut recipe = format!(
        "# The model that this recipe is for: it is refused for any other.\n\
         model = {}\n\n\
         {program}\
         # How weights are stored that no rule names; `roundwise schemes` lists what there is.\n\
         scheme = \"{scheme}\"\n\n\
         # How codes are chosen: `nearest`, or a search; `roundwise methods` lists them.\n\
         method = \"nearest\"\n\n\
         # Layers that preset `{}` keeps because the model is sensitive in them get this scheme:\n\
         # fallback_scheme = \"int8-row\"\n\n\
         # Layers to keep as they are, layers to convert although the preset keeps them, and layers\n\
         # that programs are to multiply in full precision: regular expressions, searched for in\n\
         # names without `.weight`.\n\
         keep = []\ninclude = []\nfull_precision = []\n\n\
         # Layers with a scheme of their own; the first rule that matches decides. These are the\n\
         # kinds of layers of this file, and what becomes of them without a rule.\n\
         rules = [\n",
        text(model.title),
        plan.preset.name,
    );
    for (pattern, family) in families {
        let one = if family.count == 1 { "layer" } else { "layers" };
        let Family { count, shape, becomes } = family;
        // A name may hold anything, a line break as well.
        let becomes = becomes.replace(char::is_control, " ");
        let _ = writeln!(recipe, "    # {count} {one} {shape:?}, {becomes}");
        let _ =
            writeln!(recipe, "    # {{ pattern = {}, scheme = \"{scheme}\" }},", text(&pattern));
    }
    Ok(recipe + "]\n")
}
