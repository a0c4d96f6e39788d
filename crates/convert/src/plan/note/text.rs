//! The sentence of every note, in a function that is named after it.

use roundwise_layout::{Layout, Repair, reads_banks};
use roundwise_scheme::{CATALOG, Scheme};

use crate::model::{Dialect, FileKind};
use crate::plan::note::Note;
use crate::recipe::text::sized;
use crate::recipe::{PlainDtype, Setting, Text};
use crate::source::ExpertBanks;
use crate::source::model_config::CACHE_SCHEME;

impl Note {
    /// Returns the note, the settings that it names apart from the words around them.
    pub fn text(&self) -> Text {
        match self {
            Note::Remark(remark) => remark.to_string().into(),
            Note::InsistedKind { kind, looks_like } => insisted_kind(*kind, looks_like).into(),
            Note::ForcedPreset { forced, model, detected } => {
                forced_preset(forced, model, detected).into()
            }
            Note::LoneLanguageModel { folder } => lone_language_model(folder).into(),
            Note::SilentFolder { silence } => format!(
                "the folder {silence}, from which servers learn what a model is: the output is for ComfyUI, and with the \
                 model's own `config.json` it would be a folder for servers"
            )
            .into(),
            Note::StoredInputScales { layers, of } => {
                format!("scales of inputs are stored for {layers} of {}", counted(*of, "layer")).into()
            }
            Note::InputScales { layers } => input_scales(*layers).into(),
            Note::CacheScales { tensors } => cache_scales(*tensors).into(),
            Note::Copy { prefix, tensors, bytes } => copy(prefix, *tensors, *bytes).into(),
            Note::DisputedMetadata { key, others } => disputed_metadata(key, *others).into(),
            Note::Translated { from, renamed, joined, reordered, dropped } => {
                translated(*from, *renamed, *joined, *reordered, dropped).into()
            }
            Note::Unwrapped { wrapper, tensors } => unwrapped(wrapper, *tensors).into(),
            Note::UnwrappedInside { wrappers, tensors } => {
                unwrapped_inside(wrappers, *tensors).into()
            }
            Note::NamesStay { dialect } => names_stay(*dialect),
            Note::NamesUntranslated { dialect, reason } => {
                format!("names stay {}: {reason}", dialect.owner()).into()
            }
            Note::OfGguf { dialect, is_translatable } => of_gguf(*dialect, *is_translatable),
            Note::FromCodes { weights, schemes } => from_codes(*weights, schemes).into(),
            Note::KeptCodes { weights, schemes } => kept_codes(*weights, schemes).into(),
            Note::DecodedBanks { tensors, program, bytes } => {
                decoded_banks(*tensors, program, *bytes).into()
            }
            Note::DecodedNotFinite { weights } => decoded_not_finite(weights).into(),
            Note::OddScales { layers } => odd_scales(layers).into(),
            Note::UnknownOptions { options } => unknown_options(options).into(),
            Note::OrphanScales { tensors } => orphan_scales(tensors).into(),
            Note::StrayScales { tensors } => stray_scales(tensors).into(),
            Note::Repaired(repair) => repaired(repair).into(),
            Note::Blocks { types, tensors, kept_as } => blocks(types, *tensors, *kept_as).into(),
            Note::Grown { bytes, largest } => grown(*bytes, largest.as_ref()),
            Note::UnreadEntries { entries } => unread_entries(*entries).into(),
            Note::Unchanged { dtype, weights } => unchanged(dtype, *weights).into(),
            Note::StoredAs { asked, stored } => stored_as(*asked, *stored).into(),
            Note::NotFinite { weights } => not_finite(weights).into(),
            Note::UnreadDtypes { tensors, dtypes } => unread_dtypes(tensors, dtypes).into(),
            Note::ExpertBanks(banks) => expert_banks(banks).into(),
            Note::WithoutStatistics { weights } => without_statistics(weights).into(),
            Note::Merged { adapters, tensors } => merged(adapters, *tensors).into(),
            Note::AdapterFactors(text) => text.as_str().into(),
            Note::UnmatchedLora { keys } => unmatched_lora(keys).into(),
            Note::EditedHeader { set, unset } => edited_header(set, unset).into(),
            Note::QuantizationConfig { is_changed } => quantization_config(*is_changed).into(),
            Note::NotCopied { names } => not_copied(names).into(),
            Note::WithoutEffect { asked, because } => asked.text(because),
        }
    }
}

fn insisted_kind(kind: FileKind, looks_like: &str) -> String {
    let taken = format!("taken for: {kind}, as was asked for");
    match looks_like.ends_with(&format!("({kind})")) {
        true => taken,
        false => format!("{taken}; it looks like: {looks_like}"),
    }
}

fn input_scales(layers: usize) -> String {
    format!(
        "the stored scales of inputs of {} are left out, for they are of other codes or in another form: inputs are scaled \
         as they come; a conversion with statistics stores them again",
        counted(layers, "layer")
    )
}

fn cache_scales(tensors: usize) -> String {
    format!(
        "{} of the cache of keys and values are left out, for nothing in the output would tell programs to round it by \
         them: layout `compressed-tensors` has a place for it, where the configuration beside the input has the entry \
         `{CACHE_SCHEME}`",
        counted(tensors, "scale")
    )
}

fn lone_language_model(folder: &str) -> String {
    format!(
        "the `config.json` beside it describes a language model: name the folder, {folder}, to make one that vLLM and \
         transformers open"
    )
}

fn forced_preset(forced: &str, model: &str, detected: &str) -> String {
    format!("preset `{forced}` was asked for; the file looks like: {model} (preset `{detected}`)")
}

fn copy(prefix: &str, tensors: usize, bytes: u64) -> String {
    let (tensors, bytes) = (counted(tensors, "tensor"), sized(bytes));
    format!(
        "the file holds a second model of the same layers, behind `{prefix}`: {tensors}, {bytes}, which \
         stay as they are: loaders read the first, and this may be its averaged weights or another model"
    )
}

fn disputed_metadata(key: &str, others: usize) -> String {
    let values = if others == 1 { "another value" } else { "other values" };
    format!("later shards have {values} for header entry `{key}`; the first is kept")
}

fn translated(
    from: Dialect,
    renamed: usize,
    joined: usize,
    reordered: usize,
    dropped: &[String],
) -> String {
    let renamed = counted(renamed, "tensor");
    let mut text = format!("names translated from {} to the model's own: {renamed}", from.owner());
    if joined > 0 {
        text += &format!(", {joined} of them joined from several");
    }
    if reordered > 0 {
        text += &format!(", {reordered} of them with rows in another order");
    }
    if !dropped.is_empty() {
        text += &format!("; left out, for models compute it: {}", dropped.join(", "));
    }
    text
}

fn unwrapped(wrapper: &str, tensors: usize) -> String {
    let tensors = counted(tensors, "tensor");
    format!("`{wrapper}`, which training code puts before all names, is taken off {tensors}")
}

fn unwrapped_inside(wrappers: &[&str], tensors: usize) -> String {
    let wrappers: Vec<String> = wrappers.iter().map(|wrapper| format!("`{wrapper}.`")).collect();
    let is = if wrappers.len() == 1 { "is" } else { "are" };
    let (wrappers, tensors) = (wrappers.join(" and "), counted(tensors, "tensor"));
    format!("{wrappers}, which training code puts inside names, {is} taken off {tensors}")
}

fn names_stay(dialect: Dialect) -> Text {
    let owner = dialect.owner();
    let stay = format!(
        "names stay {owner}, for no program is known to read codes of such a model under others"
    );
    Text::from(stay) + translate()
}

fn of_gguf(dialect: Dialect, is_translatable: bool) -> Text {
    let owner = dialect.owner();
    let stay = Text::from(format!("names stay {owner}, which reads them from GGUF alone"));
    if is_translatable { stay + translate() } else { stay }
}

/// Returns the way to other names, as the end of a sentence.
fn translate() -> Text {
    Text::from("; `translate` for ")
        + Setting::new("names").quoted()
        + " makes them the model's own"
}

fn from_codes(weights: usize, schemes: &[String]) -> String {
    let (was, them) = if weights == 1 { ("was", "it") } else { ("were", "them") };
    let (weights, schemes) = (counted(weights, "weight"), schemes.join("; "));
    format!(
        "{weights} {was} in codes already ({schemes}): errors are against what these stand for, without \
         what the first rounding cost {them}"
    )
}

fn kept_codes(weights: usize, schemes: &[String]) -> String {
    let (is, keeps, its) =
        if weights == 1 { ("is", "keeps", "its") } else { ("are", "keep", "their") };
    let (weights, schemes) = (counted(weights, "weight"), schemes.join(", "));
    // Of these weights alone: an adapter may change others, and biases.
    format!(
        "{weights} {is} in codes of {schemes} already and {keeps} {its} codes: none of {its} numbers changes"
    )
}

fn decoded_banks(tensors: usize, program: &str, bytes: [u64; 2]) -> String {
    let [before, after] = bytes.map(sized);
    let verb = if tensors == 1 { "becomes" } else { "become" };
    let banks = counted(tensors, "expert bank");
    format!(
        "{banks} {verb} plain numbers: {before} in codes of {program}, {after} without; no layout here \
         has codes for them"
    )
}

fn decoded_not_finite(weights: &[String]) -> String {
    let weights = weights.join(", ");
    format!("codes of a NaN or an infinity, which stay that as plain numbers: {weights}")
}

fn odd_scales(layers: &[(String, &'static str)]) -> String {
    let (name, odd) = layers.first().map_or(("", ""), |(name, odd)| (name.as_str(), *odd));
    let more = match layers.len().saturating_sub(1) {
        0 => String::new(),
        1 => ", and 1 more layer has such scales".to_owned(),
        more => format!(", and {more} more layers have such scales"),
    };
    format!(
        "a scale of `{name}` is {odd}{more}: no program writes that, and the file may be damaged; it is \
         decoded as it says"
    )
}

fn unknown_options(options: &[(String, usize)]) -> String {
    let options = options.iter();
    let options: Vec<String> = options
        .map(|(option, layers)| format!("`{option}` of {}", counted(*layers, "layer")))
        .collect();
    format!(
        "options of markers that are not known here, and that outputs are without: {}",
        options.join(", ")
    )
}

fn orphan_scales(tensors: &[String]) -> String {
    let tensors = tensors.join(", ");
    format!(
        "left out, for the weights beside are plain numbers, which are taken as they are: {tensors}"
    )
}

fn stray_scales(tensors: &[String]) -> String {
    format!("left out, for they scale no weight of the file: {}", tensors.join(", "))
}

fn repaired(Repair { defect, remedy }: &Repair) -> String {
    let problem = &defect.problem;
    match defect.layer.as_str() {
        "" => format!("the file {problem}: {remedy}"),
        layer => format!("`{layer}` {problem}: {remedy}"),
    }
}

fn blocks(types: &[&str], tensors: usize, kept_as: Option<PlainDtype>) -> String {
    let text = format!("tensors in {}, decoded on reading: {tensors}", types.join(", "));
    match kept_as {
        Some(dtype) => format!("{text}; those that are kept are stored as {dtype}"),
        None => text,
    }
}

/// Says that an output is larger than its input, and what helps.
fn grown(bytes: [u64; 2], largest: Option<&(String, u64)>) -> Text {
    let [before, after] = bytes.map(sized);
    let text = Text::from(format!(
        "the output is larger than the input, {after} of {before}: blocks of GGUF take fewer bits than \
         these codes and kept tables; "
    ));
    match largest {
        Some((layer, bytes)) => {
            let kept = format!("`{layer}`, which is kept, has {} of it, and ", sized(*bytes));
            text + kept + Setting::new("include").quoted() + format!(" `{layer}` makes codes of it")
        }
        None => text + "a scheme of 4 bits takes half as much as one of 8",
    }
}

fn unread_entries(entries: usize) -> String {
    format!(
        "entries of the GGUF header, such as a tokenizer, that outputs have no place for: {entries}"
    )
}

fn unchanged(dtype: &str, weights: usize) -> String {
    let them = if weights == 1 { "the weight is" } else { "all weights are" };
    format!("{them} {dtype} already: no number changes")
}

fn stored_as(asked: Scheme, stored: Scheme) -> String {
    format!("`{asked}` is stored as `{stored}`: servers' kernels would round other scales again")
}

fn not_finite(weights: &[String]) -> String {
    format!("kept for a NaN or an infinity: {}", weights.join(", "))
}

fn unread_dtypes(tensors: &[String], dtypes: &[&str]) -> String {
    let dtypes = dtypes.join(" and ");
    format!("ComfyUI does not read {dtypes} of what is kept: {}", first_of(tensors))
}

fn expert_banks(banks: &ExpertBanks) -> String {
    let stay = if banks.tensors == 1 { "stays" } else { "stay" };
    let (count, bytes) = (counted(banks.tensors, "expert bank"), sized(banks.bytes));
    let percent = banks.percent();
    let codes = match (banks.is_read_in_codes, banks.layout_of_servers) {
        (true, _) => stored_as_banks(Layout::Comfy),
        (false, Some(layout)) => stored_as_banks(layout),
        (false, None) => "and no layout here has codes for them".to_owned(),
    };
    format!(
        "{count} {stay} as in the input: {bytes}, {percent:.0} % of the file; each holds several matrices, \
         {codes}"
    )
}

/// Lists the schemes in which programs read expert banks of a layout.
fn stored_as_banks(layout: Layout) -> String {
    let read = CATALOG.iter().filter(|entry| reads_banks(layout, entry.scheme));
    let names: Vec<String> = read.map(|entry| format!("`{}`", entry.name)).collect();
    format!("which layout `{layout}` has codes for ({})", names.join(", "))
}

fn without_statistics(weights: &[String]) -> String {
    let count = counted(weights.len(), "weight");
    format!("nearest codes for {count} without statistics: {}", first_of(weights))
}

fn merged(adapters: &[String], tensors: usize) -> String {
    let tensors = counted(tensors, "tensor");
    format!("adapters merged into {tensors}: {}", adapters.join(", "))
}

fn unmatched_lora(keys: &[String]) -> String {
    format!("not merged, for no weight answers to it: {}", keys.join(", "))
}

fn edited_header(set: &[String], unset: &[String]) -> String {
    let listed = |verb: &str, keys: &[String]| {
        (!keys.is_empty()).then(|| format!("{verb} {}", quoted(keys)))
    };
    let parts = [listed("set", set), listed("left out", unset)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("header entries {}", parts.join("; "))
}

fn quantization_config(is_changed: bool) -> &'static str {
    match is_changed {
        true => "`config.json` is copied without its `quantization_config`, whose codes are gone",
        false => {
            "`config.json` beside the input has a `quantization_config`, which a copy of it beside these \
             plain weights must not have"
        }
    }
}

fn not_copied(names: &[String]) -> String {
    format!("folders and hidden files of the input are not copied: {}", quoted(names))
}

/// Returns the first of some names, with a sign where there are more.
fn first_of(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [name] => name.clone(),
        [first, ..] => format!("{first}, …"),
    }
}

fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}
