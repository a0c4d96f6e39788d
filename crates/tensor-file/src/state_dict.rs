//! The choice of the model's dictionary in a pickle.

use std::collections::{BTreeSet, HashSet};

use crate::no_tensor::{describe, is_array, is_tensor};
use crate::pickle::{Id, Numpy, Pickle, Value, shown};
use crate::{Remark, TensorFileErrorKind as Kind};

/// Keys of a model's dictionary in what training programs save, the one to be preferred first. Averages
/// of the weights come after the weights themselves, but for `params_ema`, which its programs read
/// first.
const MODEL_KEYS: [&str; 21] = [
    "model_state_dict",
    "state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "params_ema",
    "params-ema",
    "params",
    "weights",
    "weight",
    "ema_state_dict",
    "state_dict_ema",
    "model_ema",
    "ema_model",
    "ema",
    "g_ema",
    "generator",
    "net_g",
    "g",
];

/// Dictionaries inside dictionaries that are looked into.
const DEPTH_LIMIT: usize = 4;

/// A dictionary under a known key is no model where another one has so many times its elements.
const MUCH_LARGER: u64 = 10;

/// Entries that DeepSpeed puts into each of its files.
const DEEPSPEED_KEYS: [&str; 2] = ["ds_version", "param_shapes"];

/// Last segments of keys under which an adapter's factor is told as a number.
const FACTOR_KEYS: [&str; 7] =
    ["alpha", "lora_alpha", "network_alpha", "rank", "lora_rank", "network_dim", "r"];

/// Most such numbers, and their longest key, that are read: several keys may share one text.
const NUMBERS_LIMIT: usize = 10_000;
const NUMBER_KEY_BYTES: usize = 400;

/// Most names of classes in a remark.
const CLASSES_LIMIT: usize = 64;

/// Most names of tensors beside the model in a remark.
const STRAYS_LIMIT: usize = 1000;

/// The dictionary of a model, and remarks on parts that were passed over.
pub(crate) struct StateDict<'a> {
    pub(crate) entries: &'a [(Id, Id)],
    pub(crate) remarks: Vec<Remark>,
}

/// Chooses the model's dictionary: one whose key says so, else the only one that holds tensors, the
/// outermost included. An optimizer's never is.
///
/// # Errors
/// [`Kind::NoStateDict`], [`Kind::StateDictAmbiguous`] and [`Kind::ZeroShards`].
pub(crate) fn choose(pickle: &Pickle) -> Result<StateDict<'_>, Kind> {
    let mut search = Search { pickle, seen: HashSet::new(), found: vec![], optimizers: vec![] };
    search.look_into(pickle.root(), &mut vec![]);
    let chosen = match search.choose() {
        Err(Kind::NoStateDict { .. }) if search.is_of_deepspeed() => return Err(Kind::ZeroShards),
        chosen => chosen?,
    };
    let Candidate { tensors, empty, .. } = search.found[chosen];
    // Buffers are not shared out, so that some of them may be whole.
    if 2 * empty > tensors && search.is_of_deepspeed() {
        return Err(Kind::ZeroShards);
    }
    let path = search.found[chosen].path.clone();
    let mut passed_over: Vec<String> = (search.found.iter().enumerate())
        .filter(|(number, found)| *number != chosen && !found.path.is_empty())
        .map(|(_, found)| found.path.join("."))
        .collect();
    passed_over.append(&mut search.optimizers);
    if !path.is_empty() {
        passed_over.extend(search.tensors_at_the_top());
    }
    let nameless = search.nameless_tensors(search.found[chosen].entries);
    if nameless > 0 {
        passed_over.push(format!("{nameless} tensors without a name"));
    }
    let mut remarks = vec![];
    if !path.is_empty() || !passed_over.is_empty() {
        remarks.push(Remark::Dictionary { chosen: path.join("."), passed_over });
    }
    let numbers = search.factors(&search.found[chosen]);
    if !numbers.is_empty() {
        remarks.push(Remark::Numbers { numbers });
    }
    let classes = classes(pickle);
    if !classes.is_empty() {
        remarks.push(Remark::Objects { classes });
    }
    Ok(StateDict { entries: search.found[chosen].entries, remarks })
}

/// A dictionary that holds tensors.
struct Candidate<'a> {
    /// Keys that lead to it, each cut where it is absurdly long.
    path: Vec<String>,
    entries: &'a [(Id, Id)],
    tensors: usize,
    /// Of them those without elements.
    empty: usize,
    /// Elements of all tensors.
    elements: u64,
    /// Place of the first of its keys among [`MODEL_KEYS`].
    rank: Option<usize>,
}

struct Search<'a> {
    pickle: &'a Pickle,
    /// Dictionaries that were looked into: one may stand in several places, or in itself.
    seen: HashSet<Id>,
    found: Vec<Candidate<'a>>,
    optimizers: Vec<String>,
}

impl Search<'_> {
    fn look_into(&mut self, id: Id, path: &mut Vec<String>) {
        let pickle = self.pickle;
        // `seen` ends the search in a dictionary that holds itself.
        let Some(entries) = pickle.entries(id).filter(|_| self.seen.insert(id)) else { return };
        let named = entries.iter().filter_map(|&(key, value)| Some((pickle.text(key)?, value)));
        let has = |wanted: &str| named.clone().any(|(key, _)| key == wanted);
        // The state of torch's optimizers holds tensors of the model's shapes.
        if !path.is_empty() && has("param_groups") && has("state") {
            return self.optimizers.push(path.join("."));
        }
        // Dictionaries of the model itself hold tensors directly; those that hold dictionaries
        // alone are on the way to one.
        let place = |key: &String| MODEL_KEYS.iter().position(|known| known == key);
        let rank = path.iter().find_map(place);
        // Arrays are weights where a key says that a model is there; elsewhere they are mostly what
        // training remembers.
        let is_weight =
            |value: Id| is_tensor(pickle, value) || rank.is_some() && is_array(pickle, value);
        let tensors = named.clone().filter(|(_, value)| is_weight(*value)).count();
        if tensors > 0 {
            let counts = named.clone().filter_map(|(_, value)| element_count(pickle, value));
            let (empty, elements) = counts.fold((0, 0_u64), |(empty, sum), count| {
                (empty + usize::from(count == 0), sum.saturating_add(count))
            });
            let path = path.clone();
            self.found.push(Candidate { path, entries, tensors, empty, elements, rank });
        }
        if path.len() == DEPTH_LIMIT {
            return;
        }
        for (key, value) in named {
            if pickle.entries(value).is_none() || self.seen.contains(&value) {
                continue;
            }
            path.push(shown(key).to_owned());
            // By name as well: other optimizers than torch's keep their state in other ways.
            if shown(key).to_ascii_lowercase().contains("optim") {
                self.seen.insert(value);
                self.optimizers.push(path.join("."));
            } else {
                self.look_into(value, path);
            }
            path.pop();
        }
    }

    /// Finds the model's dictionary among those found.
    fn choose(&self) -> Result<usize, Kind> {
        let ranked = self.found.iter().enumerate().filter(|(_, found)| found.rank.is_some());
        let most = ranked.clone().map(|(_, found)| found.elements).max().unwrap_or(0);
        let ranked = ranked.filter(|(_, found)| found.elements >= most / MUCH_LARGER);
        // The best-known key first, then the dictionary nearest to the outermost, then the first.
        let ranked = ranked.filter_map(|(at, found)| Some((found.rank?, found.path.len(), at)));
        if let Some((_, _, at)) = ranked.min() {
            return Ok(at);
        }
        let outermost = self.found.iter().position(|found| found.path.is_empty());
        let inner: Vec<usize> = (0..self.found.len()).filter(|&at| Some(at) != outermost).collect();
        let tensors = |at: usize| self.found[at].tensors;
        match (outermost, inner.as_slice()) {
            (None, []) => Err(Kind::NoStateDict { found: self.describe_root() }),
            (Some(at), []) => Ok(at),
            // The outermost dictionary is the model only if it holds more tensors than all others
            // together: a few tensors beside a model are none.
            (Some(at), _) if tensors(at) > inner.iter().map(|&at| tensors(at)).sum() => Ok(at),
            (_, &[at]) => Ok(at),
            _ => {
                let path = |&at: &usize| self.found[at].path.join(".");
                Err(Kind::StateDictAmbiguous { found: inner.iter().map(path).collect() })
            }
        }
    }

    fn is_of_deepspeed(&self) -> bool {
        let entries = self.pickle.entries(self.pickle.root()).unwrap_or_default();
        let mut keys = entries.iter().filter_map(|(key, _)| self.pickle.text(*key));
        keys.any(|key| DEEPSPEED_KEYS.contains(&key))
    }

    /// Returns the numbers that tell an adapter's factor: among the tensors, and beside their dictionary.
    fn factors(&self, chosen: &Candidate<'_>) -> Vec<(String, String)> {
        let pickle = self.pickle;
        let outermost = pickle.entries(pickle.root()).unwrap_or_default();
        let beside = if chosen.path.is_empty() { &[] } else { outermost };
        let numbers = chosen.entries.iter().chain(beside).filter_map(|&(key, value)| {
            let key = pickle.text(key).filter(|key| key.len() <= NUMBER_KEY_BYTES)?;
            let number = match pickle.get(value) {
                Value::Int(number) => number.to_string(),
                Value::Float(number) => number.to_string(),
                _ => return None,
            };
            is_factor(key).then(|| (key.to_owned(), number))
        });
        numbers.take(NUMBERS_LIMIT).collect()
    }

    /// Counts tensors whose keys are no texts, such as numbers.
    fn nameless_tensors(&self, entries: &[(Id, Id)]) -> usize {
        let is_nameless = |(key, value): &&(Id, Id)| {
            self.pickle.text(*key).is_none() && is_tensor(self.pickle, *value)
        };
        entries.iter().filter(is_nameless).count()
    }

    fn tensors_at_the_top(&self) -> Vec<String> {
        let entries = self.pickle.entries(self.pickle.root()).unwrap_or_default();
        let is_list = |value: Id| {
            let Value::List(items) = self.pickle.get(value) else { return false };
            items.first().is_some_and(|&first| is_tensor(self.pickle, first))
        };
        let is_meant = |value: Id| is_tensor(self.pickle, value) || is_list(value);
        let tensors = entries.iter().filter(|(_, value)| is_meant(*value));
        let names = tensors.filter_map(|(key, _)| Some(shown(self.pickle.text(*key)?).to_owned()));
        names.take(STRAYS_LIMIT).collect()
    }

    /// Returns what is there in place of a dictionary of tensors.
    fn describe_root(&self) -> String {
        let pickle = self.pickle;
        let Some(entries) = pickle.entries(pickle.root()) else {
            return describe(pickle, pickle.root());
        };
        const SHOWN: usize = 4;
        let named = entries.iter().filter_map(|&(key, value)| Some((pickle.text(key)?, value)));
        let mut list: Vec<_> = named
            .take(SHOWN)
            .map(|(key, value)| format!("`{}` ({})", shown(key), describe(pickle, value)))
            .collect();
        if entries.len() > SHOWN {
            list.push("…".into());
        }
        if list.is_empty() { "a dictionary without names".into() } else { list.join(", ") }
    }
}

/// Returns whether a number under this key tells an adapter's factor.
pub(crate) fn is_factor(key: &str) -> bool {
    FACTOR_KEYS.contains(&key.rsplit_once('.').map_or(key, |(_, leaf)| leaf))
}

/// Returns the number of elements of a tensor that is read, or of an array.
fn element_count(pickle: &Pickle, id: Id) -> Option<u64> {
    let shape = match (pickle.get(id), pickle.numpy(id)) {
        (Value::Tensor(view), _) => pickle.resolve(view).ok()?.shape,
        (_, Some(Numpy::Array { shape })) => shape?,
        _ => return None,
    };
    Some(shape.iter().fold(1, |count: u64, size| count.saturating_mul(*size)))
}

/// Names the classes and functions of objects that were passed over, each once.
fn classes(pickle: &Pickle) -> Vec<String> {
    let makers: BTreeSet<Id> = pickle.makers().collect();
    let mut classes = BTreeSet::new();
    for maker in makers {
        if classes.len() == CLASSES_LIMIT {
            break;
        }
        classes.insert(pickle.name(maker));
    }
    classes.into_iter().collect()
}
