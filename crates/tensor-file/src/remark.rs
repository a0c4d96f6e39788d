use std::fmt;

use crate::printable::listed;

/// A choice that was made when a checkpoint was opened, or something that was passed over then.
///
/// `Display` is one sentence without its full stop, in which every name can be shown on a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remark {
    /// A file that `torch.save` wrote holds more than the tensors of one model.
    Dictionary {
        /// Keys that lead to the dictionary that was read, joined by dots; empty for the outermost.
        chosen: String,
        /// Dictionaries and tensors beside it that were not read.
        passed_over: Vec<String>,
    },
    /// A file that `torch.save` wrote holds objects of classes that mean nothing here. They were passed
    /// over; nothing was run.
    Objects {
        /// Names of classes and functions, such as `argparse.Namespace`, each once.
        classes: Vec<String>,
    },
    /// A file that `torch.save` wrote tells an adapter's factor in numbers that are no tensors.
    Numbers {
        /// Keys, such as `alpha`, each with its number.
        numbers: Vec<(String, String)>,
    },
    /// Numbers stand among the tensors of a file that `torch.save` wrote, and were passed over.
    NumbersLeftOut {
        /// Keys, such as `logit_scale (4.6)`, each with its number.
        numbers: Vec<String>,
    },
    /// Tensors that several shards hold were read from the one that the index names.
    Overlay {
        /// Names of the tensors.
        tensors: Vec<String>,
    },
    /// The index names tensors that no shard holds.
    NotInShards {
        /// Names of the tensors.
        tensors: Vec<String>,
    },
    /// Shards of the same name lie beside those that the index names, and were passed over.
    ShardsLeftOut {
        /// Their names.
        files: Vec<String>,
    },
    /// Files of weights under names that transformers does not read lie beside the one that it does, and were passed over.
    WeightsLeftOut {
        /// Their names.
        files: Vec<String>,
    },
    /// Shards were put together by the numbers in their names, for there is no index.
    NoIndex {
        /// How many there are.
        shards: usize,
    },
    /// The file is one shard of several by its name, and was read alone.
    OneShard {
        /// Its number, from 1 on.
        number: usize,
        /// How many there are.
        count: usize,
    },
    /// The file is one device's share of a model by its name: every matrix in it is a slice.
    Slice {
        /// The device's number, from 0 on.
        rank: usize,
    },
    /// The index has keys beside `metadata` and `weight_map`, which were passed over.
    IndexKeys {
        /// The keys.
        keys: Vec<String>,
    },
}

impl fmt::Display for Remark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dictionary { chosen, passed_over } => {
                match chosen.as_str() {
                    "" => write!(out, "read the outermost dictionary")?,
                    chosen => write!(out, "read the dictionary `{chosen}`")?,
                }
                match passed_over.as_slice() {
                    [] => Ok(()),
                    others => write!(out, "; passed over {}", listed(others)),
                }
            }
            Self::Objects { classes } => {
                write!(out, "passed over objects of {}; nothing was run", listed(classes))
            }
            Self::Numbers { numbers } => {
                let numbers = numbers.iter().map(|(key, number)| format!("{key} = {number}"));
                write!(out, "numbers beside the tensors: {}", listed(&numbers.collect::<Vec<_>>()))
            }
            Self::NumbersLeftOut { numbers } => {
                write!(out, "passed over numbers that are no tensors: {}", listed(numbers))
            }
            Self::Overlay { tensors } => {
                let verb = if tensors.len() == 1 { "is" } else { "are" };
                let count = counted(tensors.len());
                write!(
                    out,
                    "{count} {verb} in several shards, read from those that the index names: "
                )?;
                write!(out, "{}", listed(tensors))
            }
            Self::NotInShards { tensors } => {
                let count = counted(tensors.len());
                write!(out, "the index names {count} that no shard holds: {}", listed(tensors))
            }
            Self::ShardsLeftOut { files } => {
                write!(out, "passed over shards that the index does not name: {}", listed(files))
            }
            Self::WeightsLeftOut { files } => {
                write!(
                    out,
                    "passed over files beside `model.safetensors`, which transformers reads: {}",
                    listed(files)
                )
            }
            Self::NoIndex { shards } => {
                write!(out, "no index: {shards} shards were put together by their numbers")
            }
            Self::OneShard { number, count } => {
                write!(
                    out,
                    "by its name the file is shard {number} of {count}, read alone; their "
                )?;
                write!(out, "folder stands for all of them")
            }
            Self::Slice { rank } => {
                write!(
                    out,
                    "by its name the file is rank {rank} of a model that several devices share, "
                )?;
                write!(out, "and every matrix in it a slice")
            }
            Self::IndexKeys { keys } => {
                write!(out, "passed over keys of the index: {}", listed(keys))
            }
        }
    }
}

fn counted(tensors: usize) -> String {
    if tensors == 1 { "1 tensor".to_owned() } else { format!("{tensors} tensors") }
}
