//! Names of outputs for which none is given.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use roundwise_layout::Layout;
use roundwise_scheme::{GridKind, Scheme, Tiling};
use roundwise_tensor_file::WEIGHT_ENDINGS;

use crate::plan::Limits;
use crate::recipe::check::NEAREST;
use crate::recipe::{Purpose, Recipe};

/// Returns the name of an output for which none is given, beside the input: the published name
/// where the method's published system has one, else `{base}-{scheme}.safetensors`, with
/// `-{method}` where that is not nearest. A folder of shards has no ending.
///
/// `{base}` is the file's name without its ending; for an index of shards the name without
/// `safetensors`, `index` and `json`, for a folder the folder's name.
pub fn default_output(input: &Path, recipe: &Recipe, limits: Limits) -> PathBuf {
    // `.` and `..` have no name of their own; the folder that they stand for has one.
    let whole = input.file_name().is_none().then(|| input.canonicalize().ok()).flatten();
    let input = whole.as_deref().unwrap_or(input);
    let base = input.file_name().map_or_else(|| "model".into(), base_of);
    let layout = match (recipe.purpose(), recipe.layout()) {
        (Purpose::Quantize, Layout::ComfyLegacy) => "-legacy",
        _ => "",
    };
    let ending = published_ending(recipe).unwrap_or_else(|| own_ending(recipe));
    let limits = limits.for_recipe(recipe);
    let suffix = if limits.shard_bytes.is_some() { "" } else { ".safetensors" };
    let mut output = base;
    output.push(format!("{ending}{layout}{suffix}"));
    input.parent().map_or_else(|| PathBuf::from(&output), |folder| folder.join(&output))
}

/// Returns what outputs of an input are named after.
fn base_of(name: &OsStr) -> OsString {
    let path = Path::new(name);
    match (name.to_str(), path.extension().and_then(OsStr::to_str)) {
        (Some(name), _) => match name.strip_suffix(".json") {
            Some(index) => name_of_indexed(index).into(),
            None => without_ending(name).into(),
        },
        // A name that is no text keeps its bytes: with replacement characters it would be another name.
        (None, Some(ending)) if WEIGHT_ENDINGS.contains(&format!(".{ending}").as_str()) => {
            path.file_stem().unwrap_or(name).into()
        }
        (None, _) => name.into(),
    }
}

fn own_ending(recipe: &Recipe) -> String {
    match recipe.purpose() {
        Purpose::Quantize => {}
        Purpose::Decode(dtype) => return format!("-{}", dtype.to_string().to_lowercase()),
        Purpose::Migrate => return format!("-{}", recipe.layout()),
        Purpose::Repair => return "-repaired".to_owned(),
        Purpose::Edit => return "-edited".to_owned(),
    }
    let method = match recipe.method() {
        NEAREST => String::new(),
        method => format!("-{method}"),
    };
    match recipe.assigned().is_empty() {
        true => format!("-{}{method}", recipe.scheme()),
        false => format!("-mixed{method}"),
    }
}

/// Returns the ending that the published system of a method appends to the base of a name. The
/// first four know FP8 with one scale alone.
fn published_ending(recipe: &Recipe) -> Option<String> {
    if recipe.purpose() != Purpose::Quantize || !recipe.assigned().is_empty() {
        return None;
    }
    let scheme = recipe.scheme();
    // convert_to_quant names MX and NV outputs by the format alone, without a tiling.
    if scheme.has_block_scales() && recipe.method() == "principal" {
        return Some(format!("_learned_{scheme}{}", mixed(recipe)));
    }
    let (grid, tiling) = (scheme.grid(), scheme.tiling());
    // Published names tell a grid and a tiling, and have no word for a rotation or another kind of
    // scale.
    if scheme != Scheme::scaled(grid, tiling) {
        return None;
    }
    let distilled = if recipe.distillation().is_some() { "_nodistill" } else { "" };
    let fp8 = "_float8_e4m3fn_scaled";
    match (recipe.method(), grid, tiling) {
        ("adaround", GridKind::E4m3, Tiling::Tensor) => Some(format!("{fp8}_learned{distilled}")),
        ("adaround-fast", GridKind::E4m3, Tiling::Tensor) => {
            Some(format!("{fp8}_ultra{distilled}"))
        }
        ("tpec" | "tpec-fast", GridKind::E4m3, Tiling::Tensor) => {
            Some(format!("{fp8}_learned{distilled}_svd"))
        }
        ("principal", GridKind::E4m3, tiling) => Some(match tiling {
            Tiling::Tensor => format!("_learned_fp8{}_tensor", mixed(recipe)),
            Tiling::Row => format!("_learned_fp8{}_row", mixed(recipe)),
            Tiling::Block { rows, .. } => format!("_learned_fp8{}_block_bs{rows}", mixed(recipe)),
        }),
        ("principal", GridKind::Int8, tiling) => Some(match tiling {
            Tiling::Tensor => format!("_learned_int8{}_tensorwise", mixed(recipe)),
            Tiling::Row => format!("_learned_int8{}_rowwise", mixed(recipe)),
            Tiling::Block { rows, .. } => format!("_learned_int8{}_bs{rows}", mixed(recipe)),
        }),
        _ => None,
    }
}

fn mixed(recipe: &Recipe) -> &'static str {
    match recipe.preset().is_some() || !recipe.rules().is_empty() {
        true => "mixed",
        false => "",
    }
}

fn without_ending(name: &str) -> &str {
    WEIGHT_ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

/// Shortens the name of an index: `model.safetensors.index.fp16` becomes `model.fp16`.
fn name_of_indexed(index: &str) -> String {
    let is_of_the_model = |part: &&str| !["safetensors", "bin", "index"].contains(part);
    // What is left besides is a variant such as `fp16`, which tells apart outputs of one folder.
    let parts: Vec<&str> = index.split('.').filter(is_of_the_model).collect();
    match parts.concat().is_empty() {
        true => "model".to_owned(),
        false => parts.join("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::file::RecipeFile;

    #[test]
    fn outputs_are_named_after_input_and_scheme() {
        let recipe = Recipe::check(RecipeFile::default()).unwrap();
        for (input, output) in [
            ("a/model.safetensors", "a/model-fp8.safetensors"),
            ("model.safetensors.index.json", "model-fp8.safetensors"),
            ("x.fp16.index.json", "x.fp16-fp8.safetensors"),
            ("model.safetensors.index.fp16.json", "model.fp16-fp8.safetensors"),
            ("index.json", "model-fp8.safetensors"),
            ("pytorch_model.bin.index.json", "pytorch_model-fp8.safetensors"),
            ("state.pt", "state-fp8.safetensors"),
            ("model.Q8_0.gguf", "model.Q8_0-fp8.safetensors"),
            ("v1.ckpt", "v1-fp8.safetensors"),
            ("a/folder", "a/folder-fp8.safetensors"),
            ("v1.5.safetensors", "v1.5-fp8.safetensors"),
        ] {
            assert_eq!(
                default_output(Path::new(input), &recipe, Limits::default()),
                Path::new(output)
            );
        }
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            let [one, other] = [&b"\xff.safetensors"[..], b"\xfe.safetensors"].map(|name| {
                default_output(Path::new(OsStr::from_bytes(name)), &recipe, Limits::default())
            });
            assert_ne!(one, other);
            assert_eq!(one, Path::new(OsStr::from_bytes(b"\xff-fp8.safetensors")));
        }
        let folder = Limits { shard_bytes: Some(1), ..Limits::default() };
        assert_eq!(default_output(Path::new("a/m"), &recipe, folder), Path::new("a/m-fp8"));
    }

    #[test]
    fn methods_of_published_systems_name_their_outputs_as_those_do() {
        for (method, scheme, output) in [
            ("adaround", "fp8", "m_float8_e4m3fn_scaled_learned.safetensors"),
            ("adaround-fast", "fp8", "m_float8_e4m3fn_scaled_ultra.safetensors"),
            ("tpec", "fp8", "m_float8_e4m3fn_scaled_learned_svd.safetensors"),
            ("principal", "int8-block-128", "m_learned_int8_bs128.safetensors"),
            ("principal", "fp8-row", "m_learned_fp8_row.safetensors"),
            ("adaround", "int8-row", "m-int8-row-adaround.safetensors"),
            ("nearest", "int8-row", "m-int8-row.safetensors"),
        ] {
            let file = RecipeFile {
                method: Some(method.to_owned()),
                scheme: Some(scheme.to_owned()),
                ..RecipeFile::default()
            };
            let recipe = Recipe::check(file).unwrap();
            assert_eq!(
                default_output(Path::new("m.safetensors"), &recipe, Limits::default()),
                Path::new(output)
            );
        }
        let legacy = RecipeFile {
            method: Some("adaround".to_owned()),
            layout: Some("comfy-legacy".to_owned()),
            ..RecipeFile::default()
        };
        let recipe = Recipe::check(legacy).unwrap();
        let output = default_output(Path::new("m.safetensors"), &recipe, Limits::default());
        assert_eq!(output, Path::new("m_float8_e4m3fn_scaled_learned-legacy.safetensors"));
    }
}
