//! What stands among the tensors of a model's dictionary and is none.

use std::collections::HashSet;

use crate::TensorFileErrorKind as Kind;
use crate::pickle::{Id, Numpy, Pickle, Value, is_tensor_maker, shown};
use crate::state_dict::is_factor;

/// Most values of a list that are looked at to tell whether it holds numbers.
const LIST_LIMIT: usize = 64;

/// Most entries in a remark.
const REMARKED_LIMIT: usize = 1000;

/// Parts of keys under which training keeps lists of tensors that are no weights.
const TRAINING_KEYS: [&str; 3] = ["optim", "rng", "random"];

/// Key of FSDP's parameters, before and since PyTorch 2.0.
const FLAT_PARAMETERS: [&str; 2] = ["_flat_param", "flat_param"];

/// Looks at the entries of a model's dictionary that are no tensors.
pub(crate) struct NoTensors<'a> {
    pickle: &'a Pickle,
    /// Values that were looked into: several entries may share one, or one may hold itself.
    seen: HashSet<Id>,
    /// Numbers that are passed over, each by its key.
    pub(crate) numbers: Vec<String>,
}

impl<'a> NoTensors<'a> {
    pub(crate) fn new(pickle: &'a Pickle) -> Self {
        Self { pickle, seen: HashSet::new(), numbers: vec![] }
    }

    /// Looks at an entry: numbers are noted, texts and objects of other classes passed over.
    ///
    /// # Errors
    /// [`Kind::NotTensor`] for weights in another form, which the output would lack.
    pub(crate) fn look_at(&mut self, name: &str, value: Id) -> Result<(), Kind> {
        let pickle = self.pickle;
        if is_array(pickle, value) {
            return Err(Kind::NotTensor { found: describe(pickle, value) });
        }
        let lower = shown(name).to_ascii_lowercase();
        let is_of_training = TRAINING_KEYS.iter().any(|part| lower.contains(part));
        if !is_of_training && self.holds_weights(value) {
            let found = match pickle.entries(value) {
                Some(_) => "a dictionary with tensors that have no names".to_owned(),
                None => describe(pickle, value),
            };
            return Err(Kind::NotTensor { found });
        }
        // Those that tell an adapter's factor are read.
        let is_meant = self.numbers.len() < REMARKED_LIMIT && !is_factor(name);
        if let Some(number) = self.number(value).filter(|_| is_meant) {
            self.numbers.push(format!("{} ({number})", shown(name)));
        }
        Ok(())
    }

    fn number(&self, value: Id) -> Option<String> {
        let is_number = |id: &Id| matches!(self.pickle.get(*id), Value::Int(_) | Value::Float(_));
        match self.pickle.get(value) {
            Value::Int(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            Value::Bool => Some("true or false".to_owned()),
            Value::List(items) | Value::Tuple(items)
                if !items.is_empty() && items.iter().take(LIST_LIMIT).all(is_number) =>
            {
                Some(format!("{} numbers", items.len()))
            }
            _ => (self.pickle.numpy(value) == Some(Numpy::Scalar))
                .then(|| "a number of NumPy".to_owned()),
        }
    }

    /// Returns whether lists of tensors, or arrays, are inside a value. Tensors that a dictionary inside
    /// it names are not meant: it is told as passed over by itself.
    fn holds_weights(&mut self, value: Id) -> bool {
        let pickle = self.pickle;
        let mut open = vec![value];
        while let Some(id) = open.pop() {
            let is_meant = |item: &Id| is_tensor(pickle, *item) || is_array(pickle, *item);
            let inside = match pickle.get(id) {
                // Each is looked into once: many may share one that is long.
                _ if !self.seen.insert(id) => continue,
                Value::List(items) | Value::Tuple(items) => {
                    if items.iter().any(is_meant) {
                        return true;
                    }
                    items.clone()
                }
                _ => {
                    let entries = pickle.entries(id).unwrap_or_default();
                    let is_told = |(key, value): &&(Id, Id)| {
                        pickle.text(*key).is_some() && is_tensor(pickle, *value)
                    };
                    let rest = entries.iter().filter(|entry| !is_told(entry));
                    let rest: Vec<Id> = rest.map(|(_, value)| *value).collect();
                    if rest.iter().any(is_meant) {
                        return true;
                    }
                    rest
                }
            };
            open.extend(inside);
        }
        false
    }
}

/// Returns whether a tensor holds all parameters of a module that PyTorch's FSDP shares out, one after the other.
pub(crate) fn is_flat_parameter(name: &str) -> bool {
    FLAT_PARAMETERS.contains(&name.rsplit_once('.').map_or(name, |(_, leaf)| leaf))
}

/// Tells whether a value is a tensor, of a kind that is read or not.
pub(crate) fn is_tensor(pickle: &Pickle, id: Id) -> bool {
    matches!(pickle.get(id), Value::Tensor(_))
        || pickle.maker(id).is_some_and(|maker| is_tensor_maker(&maker))
}

/// Tells whether a value is an array of NumPy.
pub(crate) fn is_array(pickle: &Pickle, id: Id) -> bool {
    matches!(pickle.numpy(id), Some(Numpy::Array { .. }))
}

/// Says what a value is.
pub(crate) fn describe(pickle: &Pickle, id: Id) -> String {
    match pickle.numpy(id) {
        Some(Numpy::Array { shape: Some(shape) }) => return format!("a NumPy array of {shape:?}"),
        Some(Numpy::Array { shape: None }) => return "a NumPy array".to_owned(),
        Some(Numpy::Scalar) => return "a number of NumPy".to_owned(),
        None => {}
    }
    if let Some(maker) = pickle.maker(id) {
        return format!("an object of `{maker}`");
    }
    let what = match pickle.get(id) {
        Value::Bool | Value::Int(_) | Value::Float(_) => "a number",
        Value::Text(_) => "a text",
        Value::List(items) | Value::Tuple(items) => return describe_list(pickle, items),
        Value::Dict(_) => "a dictionary",
        Value::Tensor(_) => "a tensor",
        Value::Global { .. } => "a class",
        Value::Other | Value::Storage(_) | Value::Object(_) => "no tensor",
    };
    what.to_owned()
}

fn describe_list(pickle: &Pickle, items: &[Id]) -> String {
    let is_all = |is: fn(&Pickle, Id) -> bool| items.iter().all(|&item| is(pickle, item));
    match items.len() {
        0 => "a list".to_owned(),
        1 if is_all(is_tensor) => "a list of 1 tensor".to_owned(),
        count if is_all(is_tensor) => format!("a list of {count} tensors"),
        count if is_all(is_array) => format!("a list of {count} NumPy arrays"),
        count => format!("a list of {count} values"),
    }
}
