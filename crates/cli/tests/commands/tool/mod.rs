//! Runs the tool on small files in a folder of its own, and looks at what it left there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use roundwise_testkit::files::{Tensor, safetensors_with_metadata};
use roundwise_testkit::weights::gaussian;
use serde_json::Value;
use tempfile::TempDir;

/// A folder that goes away with the test.
pub(crate) struct Folder(TempDir);

/// How a run ended.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The path of the tool.
pub(crate) fn binary() -> PathBuf {
    assert_cmd::cargo::cargo_bin("roundwise")
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A folder with one file.
    pub(crate) fn with(name: &str, bytes: &[u8]) -> Self {
        let folder = Self::new();
        folder.write(name, bytes);
        folder
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn file(&self, name: &str) -> File {
        File::parse(&self.read(name))
    }

    /// Every file with its bytes, hidden ones too.
    pub(crate) fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.root().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => drop(files.insert(path.clone(), std::fs::read(path).unwrap())),
                }
            }
        }
        files
    }

    /// Names of all files, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |path: &PathBuf| path.strip_prefix(self.root()).unwrap().display().to_string();
        self.snapshot().keys().map(name).collect()
    }

    /// Runs the tool here.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        Run::of(Command::new(binary()).args(arguments).current_dir(self.root()).output().unwrap())
    }

    /// Runs the tool here, which must succeed, and gives its answer.
    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, 0, "{arguments:?}: {}{}", run.stdout, run.stderr);
        run.stdout
    }

    /// Runs the tool here, which must succeed, and gives its answer as JSON.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.done(arguments)).unwrap()
    }

    /// Runs the tool here, which must fail with `code`, say all of `words` on standard error and
    /// nothing on standard output, and leave every file as it was.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str], code: i32, words: &[&str]) -> Run {
        let before = self.snapshot();
        let run = self.run(arguments);
        run.must_say(code, words);
        assert_eq!(run.stdout, "", "{arguments:?}");
        assert!(before == self.snapshot(), "{arguments:?} changed files: {:?}", self.names());
        run
    }
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code();
        Self {
            code: code.unwrap_or_else(|| panic!("ended by {}", output.status)),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    #[track_caller]
    pub(crate) fn must_say(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is not in: {}", self.stderr);
        }
    }
}

/// A safetensors file taken apart by hand.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) tensors: BTreeMap<String, Tensor>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl File {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        let data = &bytes[8 + length..];
        let mut file = Self { tensors: BTreeMap::new(), metadata: BTreeMap::new() };
        for (name, entry) in header.as_object().unwrap() {
            if name == "__metadata__" {
                file.metadata = serde_json::from_value(entry.clone()).unwrap();
                continue;
            }
            let shape: Vec<usize> = serde_json::from_value(entry["shape"].clone()).unwrap();
            let [start, end]: [usize; 2] =
                serde_json::from_value(entry["data_offsets"].clone()).unwrap();
            let dtype = entry["dtype"].as_str().unwrap();
            let tensor = Tensor::new(name, dtype, &shape, data[start..end].to_vec());
            file.tensors.insert(name.clone(), tensor);
        }
        file
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let tensors: Vec<Tensor> = self.tensors.values().cloned().collect();
        let entries: Vec<(&str, &str)> =
            self.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        safetensors_with_metadata(&tensors, &entries)
    }

    pub(crate) fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("no `{name}`: {:?}", self.names()))
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> &mut Tensor {
        self.tensors.get_mut(name).unwrap()
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    pub(crate) fn dtype(&self, name: &str) -> &str {
        &self.get(name).dtype
    }

    /// Numbers of an F32 tensor.
    pub(crate) fn f32(&self, name: &str) -> Vec<f32> {
        let tensor = self.get(name);
        assert_eq!(tensor.dtype, "F32", "{name}");
        let (values, _) = tensor.bytes.as_chunks::<4>();
        values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    /// Numbers of a BF16 tensor.
    pub(crate) fn bf16(&self, name: &str) -> Vec<f32> {
        let tensor = self.get(name);
        assert_eq!(tensor.dtype, "BF16", "{name}");
        let (values, _) = tensor.bytes.as_chunks::<2>();
        let widen = |bytes: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
        values.iter().map(widen).collect()
    }
}

/// The value of an E4M3 code: sign, 4 bits of exponent with bias 7, 3 bits of fraction.
pub(crate) fn e4m3(code: u8) -> f32 {
    let sign = if code & 0x80 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    match (exponent, code & 7) {
        (15, 7) => f32::NAN,
        (0, _) => sign * fraction * 2f32.powi(-9),
        _ => sign * (1.0 + fraction / 8.0) * 2f32.powi(exponent - 7),
    }
}

/// A vector as a tensor.
pub(crate) fn vector(name: &str, length: usize) -> Tensor {
    let row = gaussian(1, length, 7);
    Tensor { shape: vec![length], ..Tensor::bf16(name, &row) }
}

/// A BF16 matrix as a tensor; different names have different numbers.
pub(crate) fn matrix(name: &str, rows: usize, cols: usize) -> Tensor {
    let seed = name.bytes().fold(1, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
    Tensor::bf16(name, &gaussian(rows, cols, seed))
}

/// Two linear layers, a bias, a norm, a convolution and a table of numbers, of no known model.
pub(crate) fn plain_model() -> Vec<u8> {
    let conv = Tensor { shape: vec![2, 2, 2, 2], ..vector("conv.weight", 16) };
    let ids = (0..4i64).flat_map(i64::to_le_bytes).collect();
    let tensors = [
        matrix("blocks.0.ff.in.weight", 256, 128),
        matrix("blocks.0.ff.out.weight", 128, 256),
        vector("blocks.0.ff.in.bias", 256),
        vector("blocks.0.norm.weight", 128),
        conv,
        Tensor::new("ids", "I64", &[4], ids),
    ];
    safetensors_with_metadata(&tensors, &[("format", "pt"), ("author", "nobody \"at all\"")])
}

/// Names of the weights of [`plain_model`] that become codes.
pub(crate) const PLAIN_WEIGHTS: [&str; 2] = ["blocks.0.ff.in.weight", "blocks.0.ff.out.weight"];

/// The start of a T5-XXL with decoder; its width is not that of a real one.
pub(crate) fn t5_model() -> Vec<u8> {
    let tensors = [
        matrix("encoder.block.23.layer.1.DenseReluDense.wi_1.weight", 10240, 16),
        matrix("encoder.block.0.layer.0.SelfAttention.k.weight", 64, 64),
        matrix("encoder.block.0.layer.0.SelfAttention.q.weight", 64, 64),
        matrix("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", 32, 4),
        vector("encoder.final_layer_norm.weight", 64),
        matrix("shared.weight", 100, 64),
        matrix("decoder.block.0.layer.0.SelfAttention.k.weight", 64, 64),
        matrix("lm_head.weight", 100, 64),
        Tensor::new("spiece_model", "U8", &[3], vec![1, 2, 3]),
    ];
    safetensors_with_metadata(&tensors, &[])
}

/// The start of a Chroma.
pub(crate) fn chroma_model() -> Vec<u8> {
    let tensors = [
        vector("double_blocks.0.img_attn.norm.key_norm.scale", 32),
        matrix("double_blocks.0.img_attn.qkv.weight", 96, 32),
        vector("distilled_guidance_layer.norms.0.scale", 32),
        matrix("distilled_guidance_layer.in_proj.weight", 32, 32),
        matrix("final_layer.linear.weight", 32, 32),
        matrix("img_in.weight", 32, 32),
        matrix("txt_in.weight", 32, 32),
    ];
    safetensors_with_metadata(&tensors, &[])
}

/// The start of a CLIP text encoder.
pub(crate) fn clip_model() -> Vec<u8> {
    let tensors = [
        matrix("text_model.encoder.layers.0.mlp.fc1.weight", 64, 32),
        matrix("text_model.encoder.layers.0.self_attn.q_proj.weight", 32, 32),
    ];
    safetensors_with_metadata(&tensors, &[])
}
