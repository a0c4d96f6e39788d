//! Every program whose codes are read or refused by its name, and the search for their layers.

use std::collections::{BTreeMap, BTreeSet};

use roundwise_tensor_file::{Checkpoint, TensorHeader};

use crate::read::finite::check_small_scale;
use crate::read::foreign::file::ForeignFile;
use crate::read::foreign::layer::{ForeignLayer, Recognised};
use crate::read::foreign::program::ForeignProgram;
use crate::read::foreign::refused::refused;
use crate::read::foreign::{
    awq, bitsandbytes, compressed_tensors, expert_banks, fp4, gptq, hqq, quanto, torchao,
};

/// Programs whose codes are read, as documentation lists them.
pub const FOREIGN_PROGRAMS: [&ForeignProgram; 14] = [
    &bitsandbytes::NF4,
    &bitsandbytes::FP4,
    &bitsandbytes::INT8,
    &gptq::GPTQ,
    &awq::AWQ,
    &hqq::HQQ,
    &quanto::BYTES,
    &quanto::BITS,
    &torchao::TORCHAO,
    &compressed_tensors::PACKED,
    &fp4::COMPRESSED,
    &fp4::DEEPSEEK,
    &fp4::GPT_OSS,
    &expert_banks::FP8,
];

type Recognise = fn(&ForeignFile<'_>, &TensorHeader) -> Option<Recognised>;

/// Asked in this order about each tensor.
const RECOGNISE: [Recognise; 9] = [
    bitsandbytes::recognise,
    gptq::recognise,
    awq::recognise,
    hqq::recognise,
    quanto::recognise,
    torchao::recognise,
    compressed_tensors::recognise,
    fp4::recognise,
    expert_banks::recognise,
];

/// Layers of a file in codes of other programs.
#[derive(Debug, Default)]
pub(crate) struct Foreign {
    /// By the name without `.weight`.
    pub(crate) layers: BTreeMap<String, ForeignLayer>,
    /// Layers that cannot be read, with their program and why.
    pub(crate) unread: BTreeMap<String, (&'static str, String)>,
    /// Tensors that hold codes.
    pub(crate) codes: BTreeSet<String>,
    /// Tensors that serve codes, with the layer that they belong to.
    pub(crate) parts: BTreeMap<String, String>,
}

impl Foreign {
    /// Finds every layer in codes of another program.
    pub(crate) fn find(file: &ForeignFile<'_>) -> Self {
        let mut found = Self::default();
        for header in file.tensors() {
            let recognise = RECOGNISE.iter().find_map(|recognise| recognise(file, header));
            // Only one tensor of a layer is recognised, so that the layer is found once.
            if let Some(recognised) = recognise {
                found.add(file, recognised);
            }
        }
        for header in file.tensors() {
            // After all that is read: signs of refused programs also fit files that lack a tensor
            // of a known one.
            if let Some((layer, program)) = refused(file, header)
                && !found.layers.contains_key(layer)
            {
                let why = "which are not read here".to_owned();
                found.unread.entry(layer.to_owned()).or_insert((program, why));
            }
        }
        found
    }

    /// Leaves a layer to another reader.
    pub(crate) fn remove(&mut self, layer: &str) {
        if let Some(left) = self.layers.remove(layer) {
            self.codes.remove(&left.codes_tensor);
            left.parts.iter().for_each(|part| drop(self.parts.remove(part)));
        }
    }

    fn add(&mut self, file: &Checkpoint, recognised: Recognised) {
        let Recognised { layer, program, found } = recognised;
        let read = found.and_then(|found| ForeignLayer::new(program, found));
        let read = read.and_then(|mut read| {
            for part in &read.parts {
                check_small_scale(file, part, None)?;
            }
            // Two weights of one name would meet in the output.
            if read.codes_tensor != read.name && file.get(&read.name).is_some() {
                return Err(format!("has both `{}` and `{}`", read.name, read.codes_tensor));
            }
            if let Some(first) = self.layers.get(&layer) {
                return Err(format!(
                    "has both `{}` and `{}`",
                    first.codes_tensor, read.codes_tensor
                ));
            }
            // The header's entries about it describe tensors that are gone once it is decoded.
            if program == &torchao::TORCHAO {
                read.metadata = vec![read.name.clone(), torchao::TENSOR_NAMES.to_owned()];
            }
            Ok(read)
        });
        match read {
            Ok(read) => {
                self.codes.insert(read.codes_tensor.clone());
                self.parts.extend(read.parts.iter().map(|part| (part.clone(), layer.clone())));
                self.layers.insert(layer, read);
            }
            Err(problem) => {
                // Of two readings of a layer neither can be trusted: an earlier one is taken back as
                // well.
                self.remove(&layer);
                self.unread.insert(layer, (program.name, problem));
            }
        }
    }
}
