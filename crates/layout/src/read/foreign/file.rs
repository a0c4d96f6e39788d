use std::cell::OnceCell;
use std::ops::Deref;

use roundwise_tensor_file::{Checkpoint, Dtype, parse_python_json};
use serde_json::Value;

/// A checkpoint with the files beside it that describe its codes, which are read on first use.
pub(crate) struct ForeignFile<'a> {
    checkpoint: &'a Checkpoint,
    config: OnceCell<Value>,
    settings: OnceCell<Value>,
}

impl Deref for ForeignFile<'_> {
    type Target = Checkpoint;

    fn deref(&self) -> &Checkpoint {
        self.checkpoint
    }
}

impl<'a> ForeignFile<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint) -> Self {
        Self { checkpoint, config: OnceCell::new(), settings: OnceCell::new() }
    }

    fn json(&self, name: &str) -> Option<Value> {
        parse_python_json(&self.checkpoint.text_beside(name)?).ok()
    }

    fn config(&self) -> &Value {
        self.config.get_or_init(|| self.json("config.json").unwrap_or_default())
    }

    /// Returns `quantization_config` of `config.json`, else what the file of GPTQ's or AWQ's own programs
    /// says; nothing where there is none.
    pub(crate) fn settings(&self) -> &Value {
        self.settings.get_or_init(|| {
            let inside = self.config().get("quantization_config").cloned();
            let own =
                || self.json("quantize_config.json").or_else(|| self.json("quant_config.json"));
            inside.or_else(own).unwrap_or_default()
        })
    }

    /// Returns whether something else beside it describes codes, as some programs read it.
    pub(crate) fn describes_codes_elsewhere(&self) -> bool {
        let inner = self.config().get("text_config").and_then(|it| it.get("quantization_config"));
        let is_there = |entry: Option<&Value>| entry.is_some_and(|entry| !entry.is_null());
        is_there(self.config().get("compression_config"))
            || is_there(inner)
            || self.json("hf_quant_config.json").is_some()
    }

    /// Returns whether there is a configuration beside it.
    pub(crate) fn has_config(&self) -> bool {
        self.config().is_object()
    }

    /// Returns whether the configuration beside it is surely its own: of a folder that was opened, or beside a file of the
    /// name that Hugging Face's programs give it.
    pub(crate) fn is_of_configuration(&self) -> bool {
        let name = self.path().file_name().unwrap_or_default().to_string_lossy();
        let is_theirs = ["model", "pytorch_model"].iter().any(|start| name.starts_with(start));
        is_theirs || !self.is_lone_file()
    }

    /// Returns one setting of the codes.
    pub(crate) fn setting(&self, key: &str) -> Option<&Value> {
        self.settings().get(key).filter(|value| !value.is_null())
    }

    /// Returns a setting that is a text, in small letters.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.setting(key).and_then(Value::as_str).map(str::to_ascii_lowercase)
    }

    /// Returns the dtype that `config.json` gives the model.
    pub(crate) fn model_dtype(&self) -> Option<Dtype> {
        let config = self.config();
        let named = config.get("dtype").or_else(|| config.get("torch_dtype"))?;
        dtype_named(named.as_str()?)
    }
}

/// Returns the dtype of plain numbers that torch calls so.
pub(crate) fn dtype_named(name: &str) -> Option<Dtype> {
    match name.strip_prefix("torch.").unwrap_or(name) {
        "float16" | "half" => Some(Dtype::F16),
        "bfloat16" => Some(Dtype::BF16),
        "float32" | "float" => Some(Dtype::F32),
        _ => None,
    }
}
